"""Pictures: shared Transformer backbones, image-text retrieval and what is built on them."""
