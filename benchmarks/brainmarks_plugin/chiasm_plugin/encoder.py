"""Chiasm's brain Transformer for a space, frozen: how it is built, and how clips of runs become embeddings.

Letters: B runs, K clips of a run, C clips of a batch that hold something, W windows, S places, N tokens
(W * S, windows slowest), V values of a token's signal, A of a place's amplitude, P prefix tokens, D width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import nn

from chiasm_plugin.series import Series
from chiasm_plugin.spaces import Space
from data.errors import ParameterError
from neuro.model import DEFAULT_BACKBONE, BrainEncoder, ModelConfig
from neuro.tokens import RunTokens, TokenBatch, TokenLayout
from neuro.tokens.parcels import Profile
from vision.backbones import load_backbone

Summary = Literal["class", "places"]
FRAMES = 20


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `model_kwargs` may say.

    Attributes:
        weights: folder that `neuro pretrain`, `neuro train` or `ParkinsonClassifier.save` wrote; its encoder
            is taken, with the way its runs were cut; without one the weights are random.
        backbone: any model of Chiasm's that takes tokens; for random weights only, as are `frames` and
            `profile`.
        frames: of a clip.
        profile: what tokens are: a region's signal ("none"), its correlations with all regions over a clip
            ("correlation"), or its partial ones ("partial").
        tr: seconds to which runs are resampled: those of the training.
        clips: most clips of a run; those of a longer run are spread over it.
        summary: what `cls` holds: the trunk's class token ("class"), or the embeddings of all places side by
            side ("places"), for classifiers without attention, which would only see the mean of places.
        seed: of random weights.
    """

    weights: str | None = None
    backbone: str = DEFAULT_BACKBONE
    frames: int = FRAMES
    profile: Profile = "none"
    tr: float = 2.0
    clips: int = 12
    summary: Summary = "class"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.summary not in get_args(Summary):
            known = ", ".join(get_args(Summary))
            raise ParameterError("summary", must_be=f"one of {known}", got=self.summary)
        if not self.tr > 0:
            raise ParameterError("tr", must_be="positive, in seconds", got=self.tr)
        if self.clips < 1:
            raise ParameterError("clips", must_be="at least 1", got=self.clips)
        if self.weights and (self.backbone, self.frames, self.profile) != (DEFAULT_BACKBONE, FRAMES, "none"):
            raise ParameterError(
                "backbone, frames and profile", must_be="left to the folder of weights", got="given beside it"
            )


def random_encoder(space: Space, options: Options) -> BrainEncoder:
    """An encoder for the tokens of a space, as it is before any training.

    Raises:
        ChiasmError: the backbone is unknown, out of reach, or takes no tokens.
    """
    logging.getLogger(__name__).warning("chiasm: the weights of %s are not trained on brains.", space.name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        backbone = load_backbone(
            options.backbone, device="cpu", dtype="float32", shared=False, seed=options.seed
        )
        return BrainEncoder(backbone, layout_of(space), ModelConfig(backbone=options.backbone))


def layout_of(space: Space) -> TokenLayout:
    """What tokens of a space look like: those of a run without any signal."""
    zeros_D = np.zeros(space.dimensions, dtype=np.float32)
    z_TD = np.zeros((space.frames, space.dimensions), dtype=np.float32)
    return space.tokens(Series(z_TD=z_TD, mean_D=zeros_D, std_D=zeros_D, tr=1.0)).layout


def clip_tensors(run: RunTokens, starts: list[int], most: int) -> dict[str, torch.Tensor]:
    """Clips of a run -> tensors whose shapes do not depend on its length, for PyTorch's loaders.

    Returns:
        `signal` (K, N, V), float16, K = `most`; `there` (K,), bool, which of them hold something; `amplitude`
        (S, A); `positions` (N, 4).
    """
    clips = [run.clip(start) for start in starts]
    first = clips[0]
    windows, places, values = first.signal_WSV.shape
    signal_KNV = torch.zeros(most, windows * places, values, dtype=torch.float16)
    for number, clip in enumerate(clips):
        signal_KNV[number] = torch.from_numpy(np.ascontiguousarray(clip.signal_WSV)).flatten(0, 1)
    positions_WS4 = torch.empty(windows, places, 4)
    positions_WS4[..., :3] = torch.from_numpy(first.centres_S3)
    positions_WS4[..., 3] = torch.from_numpy(first.seconds_W)[:, None]
    return {
        "signal": signal_KNV,
        "there": torch.arange(most) < len(clips),
        "amplitude": torch.from_numpy(first.amplitude_SP),
        "positions": positions_WS4.flatten(0, 1),
    }


class RunEncoder(nn.Module):
    """Clips of runs, as `clip_tensors` gives them -> prefix (B, P, D) and places (B, S, D).

    Both are means over a run's clips; a place's is one over its windows, too. The encoder is frozen.
    """

    def __init__(self, encoder: BrainEncoder) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        there_BK = batch["there"]
        run_C = there_BK.nonzero()[:, 0]
        amplitude_CSA = batch["amplitude"][run_C].float()
        positions_CN4 = batch["positions"][run_C].float()
        places = amplitude_CSA.shape[1]
        tokens = TokenBatch(
            signal_BNV=batch["signal"][there_BK].float(),
            amplitude_BSP=amplitude_CSA,
            positions_BN4=positions_CN4,
            mask_BN=torch.ones(positions_CN4.shape[:2], dtype=torch.bool, device=there_BK.device),
            windows=positions_CN4.shape[1] // places,
            padded=False,
            numbered=self.encoder.layout.regions > 0,
        )
        encoded = self.encoder(tokens)
        tokens_CWSD = encoded.tokens_BND.float().unflatten(1, (tokens.windows, places))
        return (
            _mean_of_clips(encoded.prefix_BPD.float(), run_C, len(there_BK)),
            _mean_of_clips(tokens_CWSD.mean(dim=1), run_C, len(there_BK)),
        )


def _mean_of_clips(values_CND: torch.Tensor, run_C: torch.Tensor, runs: int) -> torch.Tensor:
    sums = values_CND.new_zeros(runs, *values_CND.shape[1:]).index_add_(0, run_C, values_CND)
    return sums / torch.bincount(run_C, minlength=runs)[:, None, None]
