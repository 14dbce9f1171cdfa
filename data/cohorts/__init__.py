"""Who was scanned, and what is known of them: derivatives or tables -> `Cohort`."""
