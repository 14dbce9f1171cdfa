"""The brain Transformer: tokens -> a shared encoder -> a readout."""

from neuro.model.config import DEFAULT_BACKBONE, ModelConfig
from neuro.model.encoder import BrainEncoder, Encoded, fresh_encoder
from neuro.model.run_reading import clip_logits, run_logit, run_votes
from neuro.model.transformer import BrainTransformer

__all__ = [
    "DEFAULT_BACKBONE",
    "BrainEncoder",
    "BrainTransformer",
    "Encoded",
    "ModelConfig",
    "clip_logits",
    "fresh_encoder",
    "run_logit",
    "run_votes",
]
