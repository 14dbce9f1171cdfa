"""What a scanner does to features, and taking it out within the training side."""
