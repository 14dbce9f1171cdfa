"""The loop against a plain one, in parts, watched, and in other precisions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.errors import ParameterError
from neuro.training.config import MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.examples import Share, batches_of
from neuro.training.loop import Listeners, fit
from neuro.training.stepper import Stepper

from .toy_training import Points, ToyExamples, ToyObjective, weights

OPTIMIZER = OptimizerConfig(learning_rate=0.05, warmup=0.2)
CONFIG = TrainingConfig(epochs=4, batch_size=8, optimizer=OPTIMIZER)


def twin(config: TrainingConfig) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The same training, as a textbook has it."""
    objective, examples, told = ToyObjective(), ToyExamples(), []
    matrices = [p for p in objective.parameters() if p.ndim == 2]
    vectors = [p for p in objective.parameters() if p.ndim < 2]
    decay = config.optimizer.weight_decay
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    steps = -(-len(examples) // config.batch_size)
    warmup = round(config.optimizer.warmup * steps * config.epochs)
    for epoch in range(config.epochs):
        for places in np.array_split(range(len(examples)), steps):
            number, total = len(told), steps * config.epochs
            rising = (number + 1) / warmup if number < warmup else 1.0
            falling = (1 + math.cos(math.pi * max(number - warmup, 0) / (total - warmup))) / 2
            for group in optimizer.param_groups:
                group["lr"] = config.optimizer.learning_rate * rising * falling
            loss = objective(examples.batch(places.tolist(), epoch)).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(objective.parameters(), config.optimizer.clip_norm)
            optimizer.step()
            told.append(float(loss.detach()))
    return told, weights(objective)


def test_it_is_what_a_textbook_has() -> None:
    objective = ToyObjective()
    progress = fit(objective, ToyExamples(), CONFIG)
    losses, expected = twin(CONFIG)
    np.testing.assert_allclose(progress.step_losses, losses, rtol=1e-5)
    assert losses[-1] < 0.5 * losses[0]
    for name, weight in weights(objective).items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)
    assert torch.equal(objective.idle, torch.ones(4))
    assert not objective.training


@pytest.mark.parametrize("micro_batch", [1, 3, 100])
def test_parts_of_a_batch_give_the_whole_batchs_step(micro_batch: int) -> None:
    whole, parts = ToyObjective(), ToyObjective()
    config = replace(CONFIG, machine=MachineConfig(micro_batch=micro_batch))
    expected = fit(whole, ToyExamples(), CONFIG)
    found = fit(parts, ToyExamples(), config)
    np.testing.assert_allclose(found.step_losses, expected.step_losses, rtol=1e-6)
    for name, weight in weights(parts).items():
        torch.testing.assert_close(weight, weights(whole)[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_the_gradient_is_of_the_batchs_mean(micro_batch: int | None) -> None:
    """Adam and clipping hide a wrong scale, the norm of the gradient shows it."""
    twin_objective, objective = ToyObjective(), ToyObjective()
    batch = ToyExamples().batch(range(8), 0)
    twin_objective(batch).mean().backward()
    squares = [p.grad.square().sum() for p in twin_objective.parameters() if p.grad is not None]
    config = replace(CONFIG, machine=MachineConfig(micro_batch=micro_batch))
    stepper = Stepper(objective, config, seed=0, total=10)
    parts = stepper.share.parts(ToyExamples(), np.arange(8), 0)
    told = stepper.step(0, 8, parts)
    assert told.gradient == pytest.approx(math.sqrt(sum(map(float, squares))), rel=1e-5)


def test_an_epoch_asks_for_each_place_once() -> None:
    examples = ToyExamples(count=13)
    fit(ToyObjective(), examples, replace(CONFIG, epochs=2))
    assert examples.asked == [(epoch, place) for epoch in range(2) for place in range(13)]


@given(samples=st.integers(1, 60), batch_size=st.integers(1, 20), processes=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_each_sample_is_counted_by_one_process(samples: int, batch_size: int, processes: int) -> None:
    batches = batches_of(samples, batch_size)
    assert np.concatenate(batches).tolist() == list(range(samples))
    assert max(map(len, batches)) - min(map(len, batches)) <= 1
    assert max(map(len, batches)) <= batch_size
    examples = ToyExamples(samples)
    for batch in batches:
        shares = [
            Share(rank=rank, processes=processes, most=2).parts(examples, batch, 0)
            for rank in range(processes)
        ]
        counted = sum(len(part.batch.y_B) for share in shares for part in share if part.counted)
        assert counted == len(batch)
        assert all(len(share) >= 1 for share in shares)


def test_the_global_random_state_stays_as_it_was() -> None:
    objective = ToyObjective(dropout=0.3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    fit(objective, ToyExamples(), replace(CONFIG, epochs=1))
    assert torch.equal(before, torch.get_rng_state())


def test_the_seed_decides_what_is_dropped() -> None:
    first, again, other = (
        fit(ToyObjective(dropout=0.3), ToyExamples(), CONFIG, seed=seed).step_losses for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_each_step_drops_anew() -> None:
    class Drawing(ToyObjective):
        drawn: list[float] = []  # noqa: RUF012 - of one objective alone

        def forward(self, batch: Points) -> torch.Tensor:
            self.drawn.append(float(torch.rand(())))
            return super().forward(batch)

    objective = Drawing()
    fit(objective, ToyExamples(), CONFIG)
    assert len(set(objective.drawn)) == len(objective.drawn) == 12


class Watch:
    """A validation that gets worse after some epochs; notes the weight that it saw in each."""

    def __init__(self, objective: ToyObjective, *, best: int):
        self.objective, self.best, self.seen = objective, best, []  # type: ignore[var-annotated]

    def __call__(self) -> float:
        assert not self.objective.training
        self.seen.append(self.objective.first.weight.detach().clone())
        return float(abs(len(self.seen) - self.best))


def test_it_stops_where_validation_gets_worse_and_keeps_the_best() -> None:
    objective = ToyObjective()
    watch = Watch(objective, best=2)
    config = replace(CONFIG, epochs=9, validation_share=0.2, patience=2)
    progress = fit(objective, ToyExamples(), config, validate=watch)
    assert len(progress.epochs) == 4
    assert progress.best is not None
    assert (progress.best.epoch, progress.best.value) == (2, 0.0)
    assert torch.equal(objective.first.weight, watch.seen[1])
    assert [record["validation"] for record in progress.epochs] == [1.0, 0.0, 1.0, 2.0]


def test_the_average_is_what_is_validated_and_kept() -> None:
    plain, averaged = ToyObjective(), ToyObjective()
    watch = Watch(averaged, best=4)
    fit(plain, ToyExamples(), CONFIG)
    fit(averaged, ToyExamples(), replace(CONFIG, ema=0.8), validate=watch)
    assert torch.equal(averaged.first.weight, watch.seen[3])
    assert not torch.allclose(averaged.first.weight, plain.first.weight, atol=1e-4)
    unwatched = ToyObjective()
    fit(unwatched, ToyExamples(), replace(CONFIG, ema=0.8))
    assert torch.equal(unwatched.first.weight, averaged.first.weight)


def test_determinism_is_asked_for_inside_alone() -> None:
    seen = []
    fit(
        ToyObjective(),
        ToyExamples(),
        replace(CONFIG, epochs=1, machine=MachineConfig(deterministic=True)),
        listeners=Listeners(on_step=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())),
    )
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_bf16_is_near_and_keeps_weights_whole() -> None:
    objective = ToyObjective()
    progress = fit(objective, ToyExamples(), replace(CONFIG, machine=MachineConfig(precision="bf16")))
    exact = fit(ToyObjective(), ToyExamples(), CONFIG)
    assert progress.step_losses != exact.step_losses
    np.testing.assert_allclose(progress.step_losses, exact.step_losses, rtol=0.05)
    assert objective.first.weight.dtype == torch.float32


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(ParameterError, match="precision must be fp32 or bf16 without CUDA"):
        fit(ToyObjective(), ToyExamples(), replace(CONFIG, machine=MachineConfig(precision="fp16")))
    with pytest.raises(ParameterError, match="checkpointing must be of a model with an encoder"):
        fit(ToyObjective(), ToyExamples(), replace(CONFIG, machine=MachineConfig(checkpointing=True)))
    with pytest.raises(ParameterError, match="examples must be at least one"):
        fit(ToyObjective(), ToyExamples(0), CONFIG)
    broken = ToyObjective()
    torch.nn.init.constant_(broken.first.bias, math.nan)
    with pytest.raises(ParameterError, match="loss must be finite, got nan"):
        fit(broken, ToyExamples(), CONFIG)


@pytest.mark.slow
def test_a_compiled_model_learns_the_same() -> None:
    compiled, plain = ToyObjective(), ToyObjective()
    found = fit(compiled, ToyExamples(), replace(CONFIG, machine=MachineConfig(compile=True)))
    expected = fit(plain, ToyExamples(), CONFIG)
    np.testing.assert_allclose(found.step_losses, expected.step_losses, rtol=1e-4)
    torch.testing.assert_close(compiled.first.weight, plain.first.weight, rtol=1e-3, atol=1e-5)
