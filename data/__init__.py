"""Files and cohorts: photographs, BIDS derivatives, NIfTI runs, caches, splits and simulation. No models here."""
