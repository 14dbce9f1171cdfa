"""Small batches of tokens and encoders for them, made in memory and seeded; all backbones that tests have."""

from __future__ import annotations

from collections.abc import Callable

import torch

from neuro.model import BrainEncoder, BrainTransformer, ModelConfig
from neuro.tokens import TokenBatch, TokenLayout
from tests.vision.test_backbone_open_clip import TOWERS, build
from tests.vision.test_backbone_tokens import TIMM_NAMES
from vision.backbones import Backbone, load_backbone

LAYOUT = TokenLayout(kind="tubelet", signal=(2, 2, 2, 2), amplitude=(2, 2, 2))
PARCELS = TokenLayout(kind="parcel", signal=(6,), amplitude=(1,), regions=5)
# Heads of 16 numbers or more; those of timm's differential attention are half of what they seem.
_WIDE = "embed_dim=64,depth=2,num_heads=4,img_size=32"
_NARROW = "embed_dim=32,depth=2,num_heads=4,img_size=32"


def _timm(name: str) -> Backbone:
    wide = name.replace(_NARROW, _WIDE) if "dlittle" in name else name
    return stirred(load_backbone(wide, device="cpu", seed=1))


BACKBONES: dict[str, Callable[[], Backbone]] = {
    **{f"timm, {key}": (lambda name=name: _timm(name)) for key, name in TIMM_NAMES.items()},
    **{f"clip, {key}": (lambda key=key: build(TOWERS[key])) for key in TOWERS if key != "resnet"},
}
CLASS_TOKEN, NO_PREFIX, CLIP = "timm, class token", "timm, no class token, average", "clip, class token"
REGISTERS = "timm, registers, codes on the prefix"
FEW = (CLASS_TOKEN, NO_PREFIX, REGISTERS, CLIP)  # one of each sort that matters where all would take long


def stirred(backbone: Backbone) -> Backbone:
    """Fresh class tokens and biases are nearly zero, and would hide mistakes."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return backbone


def made_batch(
    layout: TokenLayout = LAYOUT,
    *,
    clips: int = 2,
    windows: int = 3,
    places: int = 5,
    hidden: tuple[int, ...] = (),
    seed: int = 0,
) -> TokenBatch:
    """Random tokens at random places of a brain; the last `hidden[b]` places of clip b are padding."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    values, parts = (torch.Size(axes).numel() for axes in (layout.signal, layout.amplitude))
    places_mm = (noise(clips, 1, places, 3) * 40).expand(-1, windows, -1, -1)
    seconds = (torch.arange(windows) * 8.0 + 4).reshape(1, windows, 1, 1).expand(clips, -1, places, -1)
    mask_BWS = torch.ones(clips, windows, places, dtype=torch.bool)
    for clip, count in enumerate(hidden):
        mask_BWS[clip, :, places - count :] = False
    return TokenBatch(
        signal_BNV=noise(clips, windows * places, values),
        amplitude_BSP=noise(clips, places, parts),
        positions_BN4=torch.cat([places_mm, seconds], dim=-1).flatten(1, 2),
        mask_BN=mask_BWS.flatten(1),
        windows=windows,
        padded=bool(hidden),
    )


def made_encoder(name: str = CLASS_TOKEN, layout: TokenLayout = LAYOUT, **config: object) -> BrainEncoder:
    torch.manual_seed(3)
    return BrainEncoder(BACKBONES[name](), layout, ModelConfig(**config)).eval()  # type: ignore[arg-type]


def made_model(name: str = CLASS_TOKEN, layout: TokenLayout = LAYOUT, **config: object) -> BrainTransformer:
    """Its readout says something from the beginning."""
    torch.manual_seed(3)
    model = BrainTransformer(BACKBONES[name](), layout, ModelConfig(**config)).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.readout.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return model
