"""The pull back to old weights: its value, its slope, and that it counts once a step."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch

from neuro.continual.anchor import Anchor, Anchored, factor
from neuro.continual.importance import Importance
from neuro.model import BrainTransformer
from neuro.training.clips import LabelledClips
from neuro.training.config import Adaptation, MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.supervised import train_on

from .toy_runs import toy_cohort, toy_model
from .toy_training import ToyObjective

CONFIG = TrainingConfig(epochs=2, batch_size=4, optimizer=OptimizerConfig(learning_rate=1e-2))


def made_importance(model: torch.nn.Module) -> Importance:
    generator = torch.Generator().manual_seed(1)
    weights = {name: torch.rand(p.shape, generator=generator) for name, p in model.named_parameters()}
    return Importance(weights=weights, runs=6)


class Trained(NamedTuple):
    """A model before and after a training, and the loss of each step."""

    before: BrainTransformer
    after: BrainTransformer
    losses: list[float]


def trained(strength: float, config: TrainingConfig = CONFIG) -> Trained:
    """On eight runs, with a pull."""
    runs, labels = toy_cohort(8)
    before, model = toy_model(runs[0], seed=2), toy_model(runs[0], seed=2)
    anchor = Anchor(model, made_importance(model), factor(strength, old=6, new=8))
    clips = LabelledClips(runs=runs, labels=labels, config=config, seed=0)
    progress = train_on(model, clips, 1.0, around=lambda objective: Anchored(objective, anchor))
    return Trained(before, model, progress.step_losses)


def moved(before: BrainTransformer, after: BrainTransformer) -> float:
    pairs = zip(before.parameters(), after.parameters(), strict=True)
    return sum((a - b).detach().square().sum().item() for a, b in pairs)


def test_it_is_the_weighted_square_of_the_way() -> None:
    model = ToyObjective()
    importance = made_importance(model)
    anchor = Anchor(model, importance, factor(3.0, old=6, new=4))
    assert anchor().item() == 0
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(3)))
    penalty = anchor()
    penalty.backward()
    way = {name: (p - start[name]).detach().double() for name, p in model.named_parameters()}
    wanted = sum(float((importance.weights[name] * way[name] ** 2).sum()) for name in way) * 3 * 6 / 4 / 2
    assert penalty.item() == pytest.approx(wanted, rel=1e-5)
    for name, p in model.named_parameters():
        slope = 3 * 6 / 4 * importance.weights[name] * way[name].float()
        torch.testing.assert_close(p.grad, slope)


def test_what_does_not_learn_is_left_out_and_nothing_is_registered_twice() -> None:
    model = ToyObjective()
    anchor = Anchor(model, made_importance(model), 1.0)
    model.first.requires_grad_(False)
    with torch.no_grad():
        model.first.weight.add_(1)
    assert anchor().item() == 0
    assert not list(anchor.parameters())
    assert set(Anchored(model, anchor).state_dict()) == {f"objective.{name}" for name in model.state_dict()}


def test_it_counts_once_a_step_however_samples_are_dealt_out() -> None:
    whole = trained(500.0)
    parts = trained(500.0, replace(CONFIG, machine=MachineConfig(micro_batch=1)))
    assert whole.losses == pytest.approx(parts.losses, rel=1e-3)
    assert max(whole.losses) > 1.5 * max(trained(0.0).losses)  # the pull is a part of them


def test_the_stronger_it_is_the_less_weights_move() -> None:
    ways = [moved(*trained(strength)[:2]) for strength in (0.0, 10.0, 1e4)]
    assert ways[0] > ways[1] > ways[2]
    assert ways[2] < 0.5 * ways[0]


def test_without_strength_it_changes_nothing() -> None:
    runs, labels = toy_cohort(8)
    clips = LabelledClips(runs=runs, labels=labels, config=CONFIG, seed=0)
    plain = train_on(toy_model(runs[0], seed=2), clips, 1.0)
    assert trained(0.0).losses == pytest.approx(plain.step_losses, rel=1e-4)


def test_a_readout_on_a_frozen_encoder_is_pulled_too() -> None:
    runs, labels = toy_cohort(6)
    config = replace(CONFIG, adaptation=Adaptation(method="linear"))
    ways = []
    for by in (0.0, 1e4):
        before, model = toy_model(runs[0]), toy_model(runs[0])
        anchor = Anchor(model, made_importance(model), by)
        clips = LabelledClips(runs=runs, labels=np.asarray(labels), config=config, seed=0)
        train_on(model, clips, 1.0, around=lambda objective, anchor=anchor: Anchored(objective, anchor))
        pairs = zip(before.encoder.parameters(), model.encoder.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        ways.append(moved(before, model))
    assert 0 < ways[1] < ways[0]
