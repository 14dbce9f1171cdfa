"""Small runs of noise in eight cubes, one of which is quieter in patients; and a model for them."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from data.caches.cached_run import CachedRun
from neuro.classifier import ParkinsonClassifier
from neuro.model import BrainTransformer, ModelConfig
from neuro.tokens import (
    ParcelSpec,
    RunTokens,
    SliceSpec,
    SliceTokens,
    TokenLayout,
    TubeletSpec,
    cubes,
    parcel_tokens_of_array,
)
from neuro.tokens.parcels import Profile
from neuro.training.config import OptimizerConfig, TrainingConfig
from vision.backbones import load_backbone

TINY = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=2,num_heads=2"
SPEC = TubeletSpec(patch_mm=16, frames=4)
WINDOWED = TubeletSpec(patch_mm=16, frames=4, window=2)


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


def stirred(run: RunTokens, **options: object) -> BrainTransformer:
    """A model whose every weight says something: readouts begin at 0, and attention all alike."""
    model = toy_model(run, **options).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if "qkv" in name else 0.05
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def parcel_run(profile: Profile, regions: int = 5) -> RunTokens:
    series = np.random.default_rng(3).normal(size=(24, regions)) * np.arange(1, regions + 1)
    return parcel_tokens_of_array(series, ParcelSpec(atlas="array", frames=8, profile=profile))


def slice_run() -> RunTokens:
    """Features of three slices over eight sampled frames, of no model in particular."""
    features = 2 + np.random.default_rng(5).normal(size=(8, 3, 6)).astype(np.float32)
    return SliceTokens(
        run_id="slices",
        spec=SliceSpec(frames=4, per_axis=1),
        layout=TokenLayout(kind="slice", signal=(6,), amplitude=(0,), regions=3),
        tr=6.0,
        n_frames=8,
        centres_S3=np.array([[0, 5, 5], [5, 0, 5], [5, 5, 0]], np.float32),
        features_TSF=features,
        mask_XYZ=np.ones((4, 4, 4), bool),
        places=[(0, 1), (1, 1), (2, 1)],
        affine=np.eye(4),
        frame_s=2.0,
    )


@cache
def toy_classifier() -> ParkinsonClassifier:
    """Trained until it knows the quiet cube; not to be changed."""
    training = TrainingConfig(epochs=10, optimizer=OptimizerConfig(learning_rate=2e-2))
    made = ParkinsonClassifier(model=ModelConfig(backbone=TINY), training=training, device="cpu")
    return made.fit(*toy_cohort())
