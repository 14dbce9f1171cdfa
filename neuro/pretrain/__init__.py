"""What the brain Transformer can learn without labels, and from which cohorts."""
