"""What the Transformer has to beat."""
