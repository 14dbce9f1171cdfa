"""Runs of fMRI on disk: found by their names, headers, masks, repetition times, frames."""
