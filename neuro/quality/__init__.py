"""Is a cohort fit to be learned from: tables of quality -> figures, words and one page."""
