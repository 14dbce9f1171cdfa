"""Weights of a blend, found by small trials: which cohorts help to understand the one that matters?

In the spirit of DoReMi (arXiv 2305.10429), and the simplest thing that is honest: a few candidate blends, a
small model trained briefly on each, and the masked loss on people of the cohort of interest whom nothing was
trained on. The best mean over seeds is taken; all that was tried is told, with every seed's loss, so that a
difference within the noise can be seen to be one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from data.errors import ParameterError
from neuro.model import ModelConfig, fresh_encoder
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.lesson import Lesson, modelling
from neuro.training.loop import fit

PROXY_BACKBONE = "scratch:vit_tiny_patch16_224/embed_dim=32,depth=2,num_heads=2"


@dataclass(frozen=True, kw_only=True)
class ProxyConfig:
    """How small a trial is.

    Attributes:
        backbone: of the small model.
        samples: clips that each trial sees.
        seeds: trials of each blend.
    """

    backbone: str = PROXY_BACKBONE
    samples: int = 512
    seeds: int = 2

    def __post_init__(self) -> None:
        for name in ("samples", "seeds"):
            if getattr(self, name) < 1:
                raise ParameterError(f"proxy {name}", must_be="1 or more", got=getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A blend that was tried.

    Attributes:
        name: what the blend is.
        weights: of the cohorts; they add up to 1.
        losses: masked loss on held-out people of the cohort of interest, one a seed.
    """

    name: str
    weights: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def loss(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.losses) / len(self.losses)


def candidate_blends(sizes: Sequence[int]) -> dict[str, tuple[float, ...]]:
    """Blends to try for cohorts of these sizes: name -> weights that add up to 1, no blend twice."""
    count, total = len(sizes), sum(sizes)
    found: dict[str, tuple[float, ...]] = {
        "by size": tuple(size / total for size in sizes),
        "equal": (1 / count,) * count,
    }
    for favoured in range(count):
        rest = 0.5 / max(count - 1, 1)
        weights = tuple(0.5 if number == favoured else rest for number in range(count))
        found[f"half from cohort {favoured + 1}"] = tuple(w / sum(weights) for w in weights)
    distinct: dict[str, tuple[float, ...]] = {}
    for name, weights in found.items():
        if not any(math.dist(weights, other) < 1e-9 for other in distinct.values()):
            distinct[name] = weights
    return distinct


def try_blends(
    lesson: Lesson,
    target: Lesson,
    proxy: ProxyConfig | None = None,
    *,
    on_trial: Callable[[str, int, int], None] | None = None,
) -> list[Trial]:
    """Train a small model on each candidate blend, and measure it on the cohort of interest, best first.

    Args:
        lesson: the cohorts to blend.
        target: the cohort of interest; only its held-out people are looked at.
        proxy: how small.
        on_trial: told what is tried, how many trials are done, and of how many.
    """
    proxy = proxy or ProxyConfig()
    blends = candidate_blends([len(pool) for pool in lesson.train])
    trials = []
    for number, (name, weights) in enumerate(blends.items()):
        losses = []
        for seed in range(proxy.seeds):
            if on_trial is not None:
                on_trial(name, number * proxy.seeds + seed, len(blends) * proxy.seeds)
            losses.append(_trial(lesson, target, weights, proxy, seed))
        trials.append(Trial(name=name, weights=weights, losses=tuple(losses)))
    return sorted(trials, key=lambda trial: trial.loss)


def _trial(lesson: Lesson, target: Lesson, weights: Sequence[float], proxy: ProxyConfig, seed: int) -> float:
    config = _small(lesson.config, seed)
    layout = lesson.train[0].runs[0].layout
    model = ModelConfig(backbone=proxy.backbone)
    encoder = fresh_encoder(layout, model, seed=seed, device=config.device)
    objective = modelling(encoder, config)
    examples = replace(lesson, config=config).examples(weights, proxy.samples)
    fit(objective, examples, config.training, seed=seed)
    # What is held out is seen in the same way in every trial, whatever the trial's own seed.
    measured = replace(target, config=replace(config, seed=lesson.config.seed))
    return measured.held_out_loss(objective)


def _small(config: PretrainConfig, seed: int) -> PretrainConfig:
    """The same for a trial: masked, one pass, without average, patience and logs."""
    machine = replace(config.training.machine, compile=False, checkpoint_steps=None, tensorboard=False)
    training = replace(
        config.training, epochs=1, clips=1, ema=None, patience=None, validation_share=0.0, machine=machine
    )
    return replace(config, objective="masked", training=training, seed=config.seed + 1 + seed)


def trials_told(trials: Sequence[Trial]) -> list[dict[str, Any]]:
    """The trials as JSON has them, best first."""
    return [{**asdict(trial), "loss": trial.loss} for trial in trials]
