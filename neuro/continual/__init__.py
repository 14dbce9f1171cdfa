"""A new site comes in: ways to go on with a trained run, and whether the old sites are still known."""
