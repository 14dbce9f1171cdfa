"""How the brain Transformer is trained."""
