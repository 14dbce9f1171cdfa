"""How much weights matter: against a slow twin, and on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from data.errors import BadFileError
from neuro.continual.importance import CLIPS, FILE, importance_of, load_importance, save_importance
from neuro.model import BrainTransformer
from neuro.tokens import RunTokens, TubeletSpec, collate

from .toy_runs import toy_model, toy_run

SHORT = TubeletSpec(patch_mm=16, frames=2)  # six clips a run


def slow_twin(
    model: BrainTransformer, runs: list[RunTokens], starts: list[list[int]]
) -> dict[str, torch.Tensor]:
    """The definition: over runs, clips and both labels by their chances, squared slopes of log p."""
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for run, own in zip(runs, starts, strict=True):
        for start in own:
            for label in (0.0, 1.0):
                model.zero_grad()
                logit = model(collate([run.clip(start)]))[0]
                chance = torch.sigmoid(logit.detach() if label else -logit.detach())
                (-F.binary_cross_entropy_with_logits(logit, torch.tensor(label))).backward()
                for name, p in model.named_parameters():
                    if p.grad is not None:
                        total[name] += chance * p.grad.square() / len(own) / len(runs)
    model.zero_grad()
    return total


@pytest.mark.parametrize("loud", [0.1, 1.0])
def test_it_is_the_fisher_information_of_the_definition(loud: float) -> None:
    runs = [toy_run(number, 1.0) for number in range(3)]
    model = toy_model(runs[0])
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():  # a fresh readout says 0 of everything
        for p in model.readout.parameters():
            p.copy_(loud * torch.randn(p.shape, generator=generator))
    found = importance_of(model, runs)
    assert found.runs == 3
    for name, wanted in slow_twin(model, runs, [run.clip_starts() for run in runs]).items():
        torch.testing.assert_close(found.weights[name], wanted, rtol=1e-4, atol=1e-9)
    assert sum(float(value.sum()) for value in found.weights.values()) > 0
    assert all(p.grad is None for p in model.parameters())


def test_of_long_runs_some_clips_are_taken_and_runs_weigh_alike() -> None:
    runs = [toy_run(number, 1.0, SHORT) for number in range(2)]
    model = toy_model(runs[0])
    found = importance_of(model, runs)
    assert len(runs[0].clip_starts()) == 6 > CLIPS == 4
    wanted = slow_twin(model, runs, [[0, 4, 6, 10]] * 2)
    for name, value in found.weights.items():
        torch.testing.assert_close(value, wanted[name], rtol=1e-4, atol=1e-9)


def test_that_of_two_cohorts_is_that_of_all_their_runs() -> None:
    runs = [toy_run(number, 1.0) for number in range(3)]
    model = toy_model(runs[0])
    both, whole = importance_of(model, runs[:1]) + importance_of(model, runs[1:]), importance_of(model, runs)
    assert both.runs == whole.runs == 3
    for name, value in both.weights.items():
        torch.testing.assert_close(value, whole.weights[name], rtol=1e-4, atol=1e-10)


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = toy_run(0, 1.0)
    model = toy_model(run)
    assert load_importance(tmp_path, model) is None
    importance = importance_of(model, [run])
    save_importance(importance, tmp_path)
    found = load_importance(tmp_path, model)
    assert found is not None
    assert found.runs == 1
    assert all(torch.equal(found.weights[name], value) for name, value in importance.weights.items())
    other = toy_model(toy_run(0, 1.0, TubeletSpec(patch_mm=16, frames=6)), readout="mean")
    with pytest.raises(BadFileError, match="weights of another model"):
        load_importance(tmp_path, other)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    with pytest.raises(BadFileError, match="give the old scans with --old"):
        load_importance(tmp_path, model)
