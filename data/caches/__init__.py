"""Cleaned runs on disk: planned, written once, read by many."""
