"""How runs are cleaned: confounds, filters, resampling, and one identity for all of it."""
