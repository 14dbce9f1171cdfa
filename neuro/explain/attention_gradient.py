"""Attention rolled out through all blocks, each weight by how much it moves the logit.

Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
Transformers", ICCV 2021, arXiv 2103.15679; the parts are those of `vision.explain.attention_gradient`.

Letters: B clips, H heads, Q queries, K keys, G sequences, L tokens of a sequence, N tokens, P prefix tokens,
T = P + N, W windows, S places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from data.errors import ParameterError
from neuro.model import BrainTransformer, Encoded
from neuro.model.grouping import Grouping, groupings
from neuro.tokens import RunTokens, TokenBatch, collate
from vision.explain.attention import Attended, AttentionRecorder
from vision.explain.attention_gradient import helped, rolled_out


def attention_gradient(model: BrainTransformer, run: RunTokens) -> NDArray[np.float32]:
    """What speaks for the positive class less what speaks against it, by place (S,).

    Of one class, with A a block's attention and g the gradient of the class' logit by it, B = mean over heads
    of ReLU(g * A) (their equation 5), and R <- R + B R from R = I (equation 6). A readout of votes is one
    more attention, of one query, whose ReLU(g * A) is the ReLU of the votes: the relevance of the tokens is
    that row times R. A class token's is its row of R. Values are >= 0 by the ReLU, so both classes are asked,
    with the logit and its negative, and the difference is given.

    Raises:
        ParameterError: the model attends in a way that cannot be recorded.
    """
    device = next(model.parameters()).device
    total_S = np.zeros(len(run.centres_S3), dtype=np.float64)
    starts = run.clip_starts()
    for start in starts:  # one by one: attention among all tokens is large
        batch = collate([run.clip(start)]).to(device)
        relevance_N = _of_clip(model, batch).cpu().numpy()
        total_S += relevance_N.reshape(batch.windows, -1).sum(0)
    return (total_S / len(starts)).astype(np.float32)


def _of_clip(model: BrainTransformer, batch: TokenBatch) -> torch.Tensor:
    """(N,) of a batch of one clip."""
    with torch.inference_mode(False), torch.enable_grad():
        with AttentionRecorder() as recorder:
            encoded = model.encoder(batch)
        if len(recorder.layers) != model.encoder.backbone.depth:
            raise ParameterError(
                "model",
                must_be="one whose attention can be recorded",
                got=f"{model.encoder.backbone.name}, which computes it in a way of its own",
                do="explain it by another method",
            )
        logit = model.readout(encoded, batch).sum()
        gradients = torch.autograd.grad(
            logit, [layer.weights_BHQK for layer in recorder.layers], allow_unused=True
        )
    sides = [_for_class(model, batch, encoded, recorder.layers, gradients, sign) for sign in (1, -1)]
    return sides[0] - sides[1]


def _for_class(
    model: BrainTransformer,
    batch: TokenBatch,
    encoded: Encoded,
    layers: Sequence[Attended],
    gradients: Sequence[torch.Tensor | None],
    sign: int,
) -> torch.Tensor:
    """Relevance (N,) >= 0 of the tokens for one class."""
    depth, prefix = model.encoder.backbone.depth, encoded.prefix_BPD.shape[1]
    kinds = groupings(model.encoder.config.attention, depth=depth, windows=batch.windows, prefix=prefix)
    tokens = prefix + batch.mask_BN.shape[1]
    among = [
        _among_all(found_GLL, grouping, tokens)
        for layer, gradient, grouping in zip(layers, gradients, kinds, strict=True)
        if gradient is not None and (found_GLL := helped(layer, sign * gradient)) is not None
    ]
    identity_TT = torch.eye(tokens, device=batch.mask_BN.device)
    relevance_TT = rolled_out(among) if among else identity_TT
    if model.encoder.config.readout == "class":
        return (relevance_TT - identity_TT)[0, prefix:]
    with torch.no_grad():
        votes_N = (sign * model.readout.votes(encoded, batch)[0].float()).relu()
    return votes_N @ relevance_TT[prefix:, prefix:]


def _among_all(helped_GLL: torch.Tensor, grouping: Grouping, tokens: int) -> torch.Tensor:
    """What tokens gave each other within sequences -> among all tokens of the clip (T, T).

    A prefix token with a copy in each of W windows goes on as their mean: its row is the mean of W rows.
    """
    device = helped_GLL.device
    index_GL = grouping.split(torch.arange(tokens, device=device)[None, :, None])[..., 0]
    copies_T = torch.bincount(index_GL.flatten(), minlength=tokens).clamp(min=1)
    among_TT = torch.zeros(tokens, tokens, device=device)
    for index_L, helped_LL in zip(index_GL, helped_GLL, strict=True):
        among_TT[index_L[:, None], index_L] += helped_LL
    return among_TT / copies_T[:, None]
