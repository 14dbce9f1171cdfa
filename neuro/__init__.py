"""Brains: fMRI runs as token sequences through the shared backbones, and an honest protocol around them."""
