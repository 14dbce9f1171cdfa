"""Atlases and the series of their regions."""
