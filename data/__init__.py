"""Files and cohorts: photographs, BIDS runs, NIfTI, caches, splits and simulation. No models here."""
