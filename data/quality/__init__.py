"""What can be wrong with a run, measured, with limits and their reasons."""
