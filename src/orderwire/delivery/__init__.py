"""From a claimed delivery to a finished one: lanes, attempts, and the only door out."""
