"""The one seam to disk: `base` says what is promised, each engine keeps it."""
