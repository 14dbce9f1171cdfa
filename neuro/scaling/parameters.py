"""How large a model is: its trainable parameters without embeddings.

Laws of loss are smoother in this count than in that of all parameters (Kaplan et al. 2020, arXiv 2001.08361),
above all for small models, which embeddings make up much of.
"""

from __future__ import annotations

from torch import nn

from data.errors import ParameterError

# Parts of dotted names in our, timm's and open_clip's models.
PATCHES = {"patch_embed", "embedding", "conv1"}
PLACES = {"pos_embed", "positional_embedding", "position_gain"}
EXTRA_TOKENS = {"cls_token", "reg_token", "mask_token", "class_embedding"}
HEADS = {"head", "fc_norm", "readout", "decoder"}
EMBEDDINGS = PATCHES | PLACES | EXTRA_TOKENS | HEADS


def encoder_params(model: nn.Module) -> int:
    """Parameters of the blocks and norms of an encoder.

    Raises:
        ParameterError: nothing is left when embeddings and heads are taken away.
    """
    count = sum(p.numel() for name, p in model.named_parameters() if not EMBEDDINGS & set(name.split(".")))
    if count == 0:
        raise ParameterError(
            "encoder", must_be="a Transformer with blocks", got=f"{type(model).__name__}, which has none"
        )
    return count
