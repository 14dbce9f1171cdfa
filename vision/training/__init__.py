"""What every training shares, of pictures and of brains: run folder, schedule, precision, random state."""
