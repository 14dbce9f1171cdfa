"""Splits by person, in which nobody stands on both sides."""
