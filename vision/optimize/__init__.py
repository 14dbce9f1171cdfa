"""Faster ways to the same vectors: text towers that need no torch, and int8 picture towers for CPUs.

Nothing is imported here: `vision.optimize.text_tower` must stay free of torch.
"""
