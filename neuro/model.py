"""The brain Transformer: tubelets -> patch embedding inflated from a picture model -> its trunk -> logit.

Letters: B clips, N tokens, D trunk width, V values of a token's signal, P voxels of a cube.
"""

from __future__ import annotations

import torch
from torch import nn

from data.errors import ParameterError
from neuro.positions import position_codes
from neuro.readout import RegionalReadout
from neuro.tokens import TokenBatch
from vision.backbones import Backbone, PatchEmbedNd

# At rest the signal's phase is arbitrary, its amplitude is not: the amplitude speaks first, and training may
# change both. Places are told about as loudly as contents.
SIGNAL_GAIN, AMPLITUDE_GAIN, POSITION_GAIN = 0.2, 1.0, 0.5


class BrainTransformer(nn.Module):
    """Tubelet tokens of a clip (`TokenBatch`) -> logit of the positive class (B,).

    Args:
        backbone: a private copy of any model that takes tokens; its blocks are used as they are.
        patch_voxels: voxels of a cube along x, y, z.
        frames: frames of a clip.

    Raises:
        ParameterError: the backbone takes no tokens.
    """

    def __init__(self, backbone: Backbone, *, patch_voxels: tuple[int, int, int], frames: int):
        super().__init__()
        if not backbone.has_tokens:
            raise ParameterError(
                "backbone",
                must_be="a Vision Transformer that takes tokens",
                got=backbone.name,
                do="take a `timm:vit_…`, a `clip:ViT-…` or a `scratch:vit_…`",
            )
        self.backbone = backbone
        self.patch_voxels = patch_voxels
        weight, bias = backbone.patch_kernel
        self.embed_signal = PatchEmbedNd.from_kernel(
            weight, bias, patch_size=(frames, *patch_voxels), in_channels=1
        )
        self.embed_amplitude = PatchEmbedNd.from_kernel(weight, None, patch_size=patch_voxels, in_channels=1)
        self.gains = nn.Parameter(torch.tensor([SIGNAL_GAIN, AMPLITUDE_GAIN, POSITION_GAIN]))
        self.readout = RegionalReadout(backbone.embed_dim)

    def encode(self, batch: TokenBatch) -> torch.Tensor:
        """Tokens after the trunk (B, N, D); the trunk's own prefix tokens take part and are dropped."""
        signal, amplitude, place = self.gains.unbind()
        tokens_BND = signal * self.embed_signal.embed_patches(batch.signal_BNV)
        tokens_BND = tokens_BND + amplitude * self.embed_amplitude.embed_patches(batch.amplitude_BNP)
        tokens_BND = tokens_BND + place * position_codes(batch.positions_BN4, tokens_BND.shape[-1])
        prefix_BPD = self.backbone.prefix_1PD.expand(len(tokens_BND), -1, -1)
        count = prefix_BPD.shape[1]
        mask_BN = batch.mask_BN
        padded = None if bool(mask_BN.all()) else nn.functional.pad(mask_BN, (count, 0), value=True)
        return self.backbone.embed(torch.cat([prefix_BPD, tokens_BND], dim=1), mask_BN=padded)[:, count:]

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        """Logits (B,)."""
        logits_B: torch.Tensor = self.readout(self.encode(batch), batch.positions_BN4, batch.mask_BN)
        return logits_B

    def votes(self, batch: TokenBatch) -> torch.Tensor:
        """What each token adds to the logit (B, N)."""
        return self.readout.votes(self.encode(batch), batch.positions_BN4, batch.mask_BN)
