"""What the plug-in for Brainmarks does between a sample of Brainmarks' and Chiasm's brain Transformer."""
