"""Contrastive pretraining: the loss against loops, people with several clips, and several processes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.model import BrainEncoder
from neuro.pretrain.contrastive import ContrastiveConfig, ContrastiveModelling, PairBatch, nt_xent
from neuro.pretrain.gather import gathered
from neuro.tokens import TubeletSpec, collate, cubes
from vision.backbones import load_backbone

from .conftest import TINY_BACKBONE

SPEC = TubeletSpec(patch_mm=24, frames=10)


def twin(pairs: np.ndarray, people: list[int], temperature: float) -> list[float]:
    """Pair by pair, clip by clip, in float64."""
    losses = []
    for i in range(len(pairs)):
        both = []
        for side in (0, 1):
            own, partner = pairs[i, side], pairs[i, 1 - side]
            positive = math.exp(float(own @ partner) / temperature)
            total = positive
            for k in range(len(pairs)):
                if people[k] != people[i]:
                    total += math.exp(float(own @ pairs[k, 0]) / temperature)
                    total += math.exp(float(own @ pairs[k, 1]) / temperature)
            both.append(-math.log(positive / total))
        losses.append(sum(both) / 2)
    return losses


@settings(max_examples=40, deadline=None)
@given(
    people=st.lists(st.integers(0, 3), min_size=1, max_size=7),
    temperature=st.floats(0.05, 2),
    seed=st.integers(0, 2**16),
)
def test_loss_against_loops(people: list[int], temperature: float, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((len(people), 2, 5))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    found = nt_xent(torch.tensor(rows), torch.tensor(people), temperature=temperature)
    np.testing.assert_allclose(found.numpy(), twin(rows, people, temperature), rtol=1e-9, atol=1e-9)


def test_without_repeated_people_it_is_simclr() -> None:
    rows = F.normalize(torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    flat = rows.reshape(12, 8)  # the pairs of SimCLR's algorithm 1: rows 2k and 2k + 1
    logits = (flat @ flat.T / 0.5).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(logits, torch.arange(12) ^ 1)
    torch.testing.assert_close(nt_xent(rows, torch.arange(6), temperature=0.5).mean(), expected)


def test_other_clips_of_a_person_do_not_push() -> None:
    rows = F.normalize(torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    alone = nt_xent(rows[[0, 2]], torch.tensor([0, 1]), temperature=0.3)
    beside = nt_xent(rows, torch.tensor([0, 0, 1]), temperature=0.3)
    torch.testing.assert_close(beside[0], alone[0])


@pytest.fixture
def objective(cache: Cache) -> ContrastiveModelling:
    encoder = BrainEncoder(load_backbone(TINY_BACKBONE, shared=False), cubes(cache.run(0), SPEC).layout)
    torch.manual_seed(0)
    return ContrastiveModelling(encoder, ContrastiveConfig(width=8))


def pairs(cache: Cache, rows: list[int]) -> PairBatch:
    runs = [cubes(cache.run(i), SPEC) for i in rows]
    return PairBatch(
        first=collate([run.clip(0) for run in runs]),
        second=collate([run.clip(20) for run in runs]),
        person_B=torch.tensor(rows),
    )


def test_it_learns_to_know_people(cache: Cache, objective: ContrastiveModelling) -> None:
    batch = pairs(cache, [0, 1, 2, 3])
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    before = float(objective(batch).detach().mean())
    for _ in range(25):
        optimizer.zero_grad()
        objective(batch).mean().backward()
        optimizer.step()
    assert float(objective(batch).detach().mean()) < 0.5 * before


def test_padding_is_not_pooled(cache: Cache, objective: ContrastiveModelling) -> None:
    run = cubes(cache.run(0), SPEC)
    short, whole = collate([run.clip(0)]), collate([run.clip(0), _longer(run.clip(0))])
    assert whole.padded
    with torch.no_grad():
        torch.testing.assert_close(
            objective.project(whole)[:1], objective.project(short), atol=1e-5, rtol=1e-4
        )


def _longer(clip):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(
        clip,
        signal_WSV=np.concatenate([clip.signal_WSV, clip.signal_WSV[:, :3]], axis=1),
        amplitude_SP=np.concatenate([clip.amplitude_SP, clip.amplitude_SP[:3]]),
        centres_S3=np.concatenate([clip.centres_S3, clip.centres_S3[:3]]),
    )


def test_bad_options_are_refused() -> None:
    with pytest.raises(ParameterError, match="temperature must be positive"):
        ContrastiveConfig(temperature=0)
    with pytest.raises(ParameterError, match="projection width"):
        ContrastiveConfig(width=1)


SIZES = (3, 1, 2)


def _made(count: int) -> torch.Tensor:
    return torch.randn(count, 2, 4, generator=torch.Generator().manual_seed(7))


def _on_rank(rank: int, place: str, out: str) -> None:
    """The gradient of a shared scale, as DDP would average it times the number of processes."""
    dist.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=len(SIZES))
    start = sum(SIZES[:rank])
    own = _made(sum(SIZES))[start : start + SIZES[rank]]
    scale = torch.ones(4, requires_grad=True)
    rows, begin = gathered(F.normalize(own * scale, dim=-1))
    people, _ = gathered(torch.tensor([0, 1, 2, 0, 3, 4])[start : start + SIZES[rank]])
    losses = nt_xent(rows, people, temperature=0.5)[begin : begin + SIZES[rank]]
    losses.sum().backward()
    assert scale.grad is not None
    dist.all_reduce(scale.grad)
    torch.save({"losses": losses.detach(), "gradient": scale.grad}, f"{out}-{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_processes_share_their_negatives(tmp_path: Path) -> None:
    """Losses and gradients of three processes are those of one with all the pairs."""
    mp.spawn(_on_rank, (str(tmp_path / "place"), str(tmp_path / "rank")), nprocs=len(SIZES))
    scale = torch.ones(4, requires_grad=True)
    rows = F.normalize(_made(sum(SIZES)) * scale, dim=-1)
    losses = nt_xent(rows, torch.tensor([0, 1, 2, 0, 3, 4]), temperature=0.5)
    losses.sum().backward()
    found = [torch.load(tmp_path / f"rank-{rank}.pt") for rank in range(len(SIZES))]
    torch.testing.assert_close(torch.cat([f["losses"] for f in found]), losses.detach())
    for part in found:
        torch.testing.assert_close(part["gradient"], scale.grad, atol=1e-5, rtol=1e-5)
