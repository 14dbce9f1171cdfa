"""Simulated cohorts with a planted, known effect."""
