"""Sites of people in memory: series of a few regions, a pair of which is less coupled in patients."""

from __future__ import annotations

import numpy as np

from neuro.classifier import ParkinsonClassifier
from neuro.classifier.samples import spec_of_array
from neuro.continual.runs import Runs
from neuro.model import ModelConfig
from neuro.tokens.parcels import parcel_tokens_of_array
from neuro.training.config import OptimizerConfig, TrainingConfig

TINY = "scratch:vit_tiny_patch16_224/embed_dim=16,depth=1,num_heads=2"
REGIONS, FRAMES = 6, 40


def site(
    name: str, people: int = 16, *, pair: tuple[int, int] = (0, 1), noise: float = 0.3, turn: float = 1.0
) -> Runs:
    """Half are patients, whose `pair` of regions goes apart; `turn` -1 has the controls' go apart instead."""
    rng = np.random.default_rng([ord(letter) for letter in name])
    labels = np.arange(people) % 2
    runs = []
    for number, label in enumerate(labels):
        series_TR = rng.standard_normal((FRAMES, REGIONS))
        coupled = 0.9 if (label == 0) == (turn > 0) else 0.1
        first, second = pair
        series_TR[:, second] = coupled * series_TR[:, first] + (1 - coupled) * series_TR[:, second]
        series_TR += noise * rng.standard_normal(series_TR.shape)
        spec = spec_of_array(FRAMES)
        runs.append(parcel_tokens_of_array(series_TR.astype(np.float32), spec, run_id=f"{name}-{number}"))
    return Runs(
        tokens=runs,
        labels=labels.astype(np.int64),
        people=np.array([f"{name}-{number}" for number in range(people)], dtype=object),
        sites=np.array([name] * people, dtype=object),
        run_ids=np.array([run.run_id for run in runs], dtype=object),
    )


def classifier(epochs: int = 30, rate: float = 1e-2, seed: int = 0) -> ParkinsonClassifier:
    """For these sites."""
    training = TrainingConfig(epochs=epochs, optimizer=OptimizerConfig(learning_rate=rate))
    return ParkinsonClassifier(model=ModelConfig(backbone=TINY), training=training, seed=seed, device="cpu")
