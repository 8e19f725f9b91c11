"""Bytes from outside become events, or a refusal that says why. Pure: no store, no clock, no network."""
