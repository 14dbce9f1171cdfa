"""Small runs of noise in eight cubes, one of which is quieter in patients; and a model for them."""

from __future__ import annotations

import numpy as np
import torch

from data.caches.cached_run import CachedRun
from neuro.model import BrainTransformer, ModelConfig
from neuro.tokens import RunTokens, TubeletSpec, cubes
from vision.backbones import load_backbone

TINY = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=2,num_heads=2"
SPEC = TubeletSpec(patch_mm=16, frames=4)


def toy_run(number: int, loud: float, spec: TubeletSpec = SPEC) -> RunTokens:
    """Noise in eight cubes; the voxels of one of them fluctuate `loud` times as strongly as elsewhere."""
    rng = np.random.default_rng(number)
    std_XYZ = np.exp(rng.normal(0, 0.2, (8, 8, 8)))
    std_XYZ[4:, 4:, :4] *= loud
    mask_XYZ = np.ones((8, 8, 8), bool)
    mask_XYZ[:4, :4, :4] = number % 3 > 0  # not all brains fill the same cubes
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = -20, -30, -10
    return cubes(
        CachedRun(
            run_id=f"sub-{number}",
            participant_id=f"sub-{number}",
            series_TV=rng.standard_normal((12, int(mask_XYZ.sum()))).astype(np.float16),
            mean_V=np.ones(int(mask_XYZ.sum()), np.float32),
            std_V=std_XYZ[mask_XYZ].astype(np.float32),
            mask_XYZ=mask_XYZ,
            affine=affine,
            tr=2.0,
        ),
        spec,
    )


def toy_cohort(count: int = 20, first: int = 0) -> tuple[list[RunTokens], np.ndarray]:
    labels = np.arange(count) % 2
    return [toy_run(first + i, 0.4 if label else 1.0) for i, label in enumerate(labels)], labels


def toy_model(run: RunTokens, seed: int = 0, **options: object) -> BrainTransformer:
    config = ModelConfig(backbone=TINY, **options)  # type: ignore[arg-type]
    backbone = load_backbone(TINY, device="cpu", shared=False, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrainTransformer(backbone, run.layout, config)
