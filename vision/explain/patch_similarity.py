"""The plain comparison: the cosine of each patch alone with the target, no gradient.

Shape suffixes: C channels, H W pixels, P prefix tokens, N patches, D width, E joint space, R rows, C columns.
"""

from __future__ import annotations

import torch

from vision.backbones import Backbone
from vision.explain.recording import token_layout


def patch_similarity(
    backbone: Backbone, pixels_1CHW: torch.Tensor, target_E: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised pixels (1, C, H, W), unit target (E,) -> heat (R, C) >= 0, and the picture's vector (E,).

    Each last token goes through the pooling and the projection by itself: repeated P + 1 times, so that a
    class token, an average and an attention all give that very token. The heat is the cosine above the mean
    of all patches, and above 0: CLIP's cosines all lie in one narrow band.

    Tokens have seen each other by then, and CLIP is known to point at the background this way (Li et al.
    2023, "CLIP Surgery", arXiv 2304.05653).

    Raises:
        ParameterError: no Vision Transformer.
    """
    layout = token_layout(backbone)
    with torch.no_grad():
        tokens_1TD = backbone.spatial(pixels_1CHW)
        repeated_NTD = tokens_1TD[0, layout.prefix :, None].expand(-1, layout.prefix + 1, -1)
        cosine_N = backbone.pool(repeated_NTD) @ target_E
        heat_N = (cosine_N - cosine_N.mean().clamp(min=0)).relu()
        return heat_N.reshape(layout.grid), backbone.pool(tokens_1TD)[0]
