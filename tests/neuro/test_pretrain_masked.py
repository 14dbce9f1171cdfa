"""Masked modelling: the loss against loops, what counts, what the encoder is shown, and that it learns."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.errors import ParameterError
from neuro.pretrain.masked import MaskedBatch, MaskedConfig, MaskedModelling, inside, normalised
from neuro.pretrain.masking import Mask, MaskConfig, draw_mask
from neuro.tokens import TokenBatch, TokenLayout

from .made_batches import LAYOUT, PARCELS, made_batch, made_encoder

VOLUME = TokenLayout(kind="volume", signal=(1, 2, 2, 2), amplitude=(2, 2, 2))
SLICES = TokenLayout(kind="slice", signal=(7,), amplitude=(0,), regions=5)
LAYOUTS = {"tubelet": LAYOUT, "volume": VOLUME, "parcel": PARCELS, "slice": SLICES}


def made_masked(layout: TokenLayout = LAYOUT, *, hidden: tuple[int, ...] = (), seed: int = 0) -> MaskedBatch:
    """Some voxels of some cubes lie outside the brain: 0 in signal and amplitude."""
    batch = made_batch(layout, clips=2, windows=3, places=5, hidden=hidden, seed=seed)
    parts = math.prod(layout.amplitude)
    if parts > 1:
        outside = torch.rand(2, 5, parts, generator=torch.Generator().manual_seed(seed)) < 0.3
        batch.amplitude_BSP[outside] = 0
        signal = batch.signal_BNV.view(2, 3, 5, -1, parts)
        signal.masked_fill_(outside[:, None, :, None, :], 0)
    rngs = [np.random.default_rng([seed, b]) for b in range(2)]
    return MaskedBatch(tokens=batch, mask=draw_mask(batch, MaskConfig(ratio=0.5), visible=2, rngs=rngs))


def made_objective(layout: TokenLayout = LAYOUT, **config: object) -> MaskedModelling:
    torch.manual_seed(5)
    return MaskedModelling(made_encoder(layout=layout), MaskedConfig(depth=1, **config)).eval()  # type: ignore[arg-type]


def slow_errors(objective: MaskedModelling, batch: MaskedBatch, *, normalise: bool) -> list[list[float]]:
    """Value by value in float64, from the guesses of the objective: mean squared errors of each clip."""
    tokens, mask, layout = batch.tokens, batch.mask, objective.encoder.layout
    seen = replace(tokens.at_places(mask.visible_BK), padded=False)
    encoded = objective.encoder(seen, mask.visible_BK)
    signal, amplitude = objective.decoder(encoded.tokens_BND, tokens, mask)
    parts = math.prod(layout.amplitude)
    found = []
    for b in range(len(tokens)):
        signal_squares, amplitude_squares = [], []
        for h, place in enumerate(mask.hidden_BH[b].tolist()):
            if not mask.real_BH[b, h]:
                continue
            windows = [w * tokens.places + place for w in range(tokens.windows)]
            lives = [True] * max(parts, 1)
            for p in range(parts):
                values = tokens.signal_BNV[b, windows][:, p::parts]
                lives[p] = bool((values != 0).any()) or bool(tokens.amplitude_BSP[b, place, p] != 0)
            for w, number in enumerate(windows):
                counted = [v for v in range(tokens.signal_BNV.shape[2]) if lives[v % max(parts, 1)]]
                truth = [float(tokens.signal_BNV[b, number, v]) for v in counted]
                if normalise and truth:
                    mean = sum(truth) / len(truth)
                    spread = math.sqrt(sum((t - mean) ** 2 for t in truth) / len(truth) + 1e-3)
                    truth = [(t - mean) / spread for t in truth]
                guesses = [float(signal[b, w, h, v]) for v in counted]
                signal_squares += [(g - t) ** 2 for g, t in zip(guesses, truth, strict=True)]
            for p in range(parts):
                if lives[p]:
                    guess, truth_p = float(amplitude[b, h, p]), float(tokens.amplitude_BSP[b, place, p])
                    amplitude_squares.append((guess - truth_p) ** 2)
        means = [sum(s) / len(s) if s else 0.0 for s in (signal_squares, amplitude_squares)]
        found.append(means)
    return found


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("hidden", [(), (0, 1)])
@pytest.mark.parametrize("kind", LAYOUTS)
@torch.no_grad()
def test_errors_against_loops(kind: str, hidden: tuple[int, ...], normalise: bool) -> None:
    layout = LAYOUTS[kind]
    batch = made_masked(layout, hidden=() if layout.regions else hidden)
    objective = made_objective(layout, normalise=normalise, amplitude_weight=3.0)
    signal_B, amplitude_B = objective.errors(batch)
    expected = torch.tensor(slow_errors(objective, batch, normalise=normalise))
    torch.testing.assert_close(signal_B, expected[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(amplitude_B, expected[:, 1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(objective(batch), signal_B + 3 * amplitude_B)


@torch.no_grad()
def test_values_outside_the_brain_do_not_count() -> None:
    """Whatever is guessed there, the loss stays; and 0 in the brain is a value like any other."""
    batch, objective = made_masked(), made_objective()
    before = objective(batch)
    lives = inside(batch.tokens, LAYOUT)
    always_outside = ~lives.any(0).any(0)
    assert not always_outside.any()  # else the head's bias below would not be felt either
    assert objective.decoder.amplitude is not None
    objective.decoder.amplitude.bias += 10
    assert (objective(batch) > before + 10).all()
    nothing = replace(
        batch.tokens,
        signal_BNV=torch.zeros_like(batch.tokens.signal_BNV),
        amplitude_BSP=torch.zeros_like(batch.tokens.amplitude_BSP),
    )
    torch.testing.assert_close(objective(replace(batch, tokens=nothing)), torch.zeros(2))


def test_a_voxel_of_the_brain_counts_where_it_is_zero_for_a_moment() -> None:
    batch = made_masked().tokens
    lives = inside(batch, LAYOUT)
    batch.signal_BNV.view(2, 3, 5, 2, 8)[:, 1, :, 0] = 0
    torch.testing.assert_close(inside(batch, LAYOUT), lives)


def test_normalised_tokens_have_mean_0_and_spread_1() -> None:
    values = torch.randn(2, 3, 4, 50, generator=torch.Generator().manual_seed(0)) * 5 + 3
    counts = torch.rand(2, 3, 4, 50, generator=torch.Generator().manual_seed(1)) < 0.7
    out = normalised(values, counts)
    assert (out[~counts] == 0).all()
    number = counts.sum(-1)
    torch.testing.assert_close(out.sum(-1) / number, torch.zeros(2, 3, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.square().sum(-1) / number, torch.ones(2, 3, 4), atol=1e-3, rtol=0)


@torch.no_grad()
def test_the_encoder_sees_visible_tokens_alone() -> None:
    """What hidden places hold changes no guess; what visible ones hold changes all."""
    batch, objective = made_masked(), made_objective()

    def guesses(tokens: TokenBatch) -> torch.Tensor:
        seen = replace(tokens.at_places(batch.mask.visible_BK), padded=False)
        encoded = objective.encoder(seen, batch.mask.visible_BK)
        assert encoded.tokens_BND.shape[1] == 2 * 3  # two places in three windows
        guessed: torch.Tensor = objective.decoder(encoded.tokens_BND, tokens, batch.mask)[0]
        return guessed

    def changed(places_BK: torch.Tensor) -> TokenBatch:
        index = batch.tokens.tokens_of(places_BK)
        signal, amplitude = batch.tokens.signal_BNV.clone(), batch.tokens.amplitude_BSP.clone()
        for b in range(2):
            signal[b, index[b]] += 1
            amplitude[b, places_BK[b]] += 1
        return replace(batch.tokens, signal_BNV=signal, amplitude_BSP=amplitude)

    before = guesses(batch.tokens)
    torch.testing.assert_close(guesses(changed(batch.mask.hidden_BH)), before)
    assert (guesses(changed(batch.mask.visible_BK)) - before).abs().flatten(2).amax(2).min() > 1e-4


@torch.no_grad()
def test_a_clips_loss_is_its_own() -> None:
    """Alone, in company that needs more padding, and in half the batch, a clip has the same loss."""
    batch, objective = made_masked(hidden=(0, 2)), made_objective()
    whole = objective(batch)
    for b in range(2):
        mask = Mask(
            visible_BK=batch.mask.visible_BK[b : b + 1],
            hidden_BH=batch.mask.hidden_BH[b : b + 1, : int(batch.mask.real_BH[b].sum())],
            real_BH=batch.mask.real_BH[b : b + 1, : int(batch.mask.real_BH[b].sum())],
        )
        alone = MaskedBatch(tokens=batch.tokens.rows(b, b + 1), mask=mask)
        torch.testing.assert_close(objective(alone)[0], whole[b], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_guesses_know_where_and_when() -> None:
    """Hidden places are told apart by their place in mm, and windows by their seconds."""
    batch, objective = made_masked(), made_objective()
    encoded = objective.encoder(batch.tokens.at_places(batch.mask.visible_BK), batch.mask.visible_BK)
    signal, amplitude = objective.decoder(encoded.tokens_BND, batch.tokens, batch.mask)
    assert signal.shape == (2, 3, 3, 16)
    assert amplitude.shape == (2, 3, 8)
    assert (signal[:, :, 0] - signal[:, :, 1]).abs().max() > 1e-3
    assert (signal[:, 0] - signal[:, 1]).abs().max() > 1e-3


@torch.no_grad()
def test_regions_without_places_are_told_apart_by_their_number() -> None:
    batch, objective = made_masked(PARCELS), made_objective(PARCELS)
    positions = batch.tokens.positions_BN4.clone()
    positions[..., :3] = float("nan")
    tokens = replace(batch.tokens, positions_BN4=positions)
    encoded = objective.encoder(tokens.at_places(batch.mask.visible_BK), batch.mask.visible_BK)
    signal, _ = objective.decoder(encoded.tokens_BND, tokens, batch.mask)
    assert signal.isfinite().all()
    assert (signal[:, :, 0] - signal[:, :, 1]).abs().max() > 1e-3


def test_it_learns_what_places_have_in_common() -> None:
    """All places carry one course: hidden ones can be guessed from the visible ones."""
    generator = torch.Generator().manual_seed(0)
    objective = made_objective(PARCELS, normalise=False)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)

    def batch(step: int) -> MaskedBatch:
        made = made_batch(PARCELS, clips=8, windows=1, places=5)
        course = torch.randn(8, 1, 6, generator=generator).expand(-1, 5, -1)
        tokens = replace(made, signal_BNV=course.contiguous(), amplitude_BSP=torch.ones(8, 5, 1))
        rngs = [np.random.default_rng([step, b]) for b in range(8)]
        return MaskedBatch(tokens=tokens, mask=draw_mask(tokens, MaskConfig(), visible=2, rngs=rngs))

    losses = []
    for step in range(150):
        loss = objective(batch(step)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-20:]) < 0.35  # 1 without looking, and 1 more for the amplitude at first


def test_bad_options_are_refused() -> None:
    with pytest.raises(ParameterError, match="amplitude_weight"):
        MaskedConfig(amplitude_weight=-1)
    with pytest.raises(ParameterError, match="decoder width must be a multiple of 32"):
        MaskedConfig(width=40)
    with pytest.raises(ParameterError, match="decoder depth"):
        MaskedConfig(depth=0)
