"""Orderwire: a self-hosted event backbone for commerce."""

__version__ = "0.1.0"
