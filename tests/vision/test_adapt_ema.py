"""The moving average against the formula by hand; swapped in and out to the bit; saved and gone on with."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from data.errors import ParameterError
from tests.vision.adaptable import scratch
from vision.adapt import MovingAverage, add_lora, picture_tower


def small(dtype: torch.dtype = torch.double) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)).to(dtype)


def move(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter))


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.9999), st.booleans(), st.integers(0, 15))
def test_the_average_equals_the_formula_by_hand(decay: float, warm_up: bool, steps: int) -> None:
    model = small()
    average = MovingAverage(model, decay=decay, warm_up=warm_up)
    by_hand = {name: p.tolist() for name, p in weights(model).items()}
    for step in range(steps):
        move(model, step)
        average.update()
        now = min(decay, (1 + step) / (10 + step)) if warm_up else decay
        for name, p in weights(model).items():
            flat, kept = p.flatten().tolist(), torch.tensor(by_hand[name], dtype=p.dtype).flatten().tolist()
            mixed = [now * old + (1 - now) * new for old, new in zip(kept, flat, strict=True)]
            by_hand[name] = torch.tensor(mixed, dtype=p.dtype).reshape(p.shape).tolist()
    with average.averaged():
        for name, p in weights(model).items():
            torch.testing.assert_close(p, torch.tensor(by_hand[name], dtype=p.dtype), rtol=1e-12, atol=1e-12)
    assert average.updates == steps


def test_weights_come_back_to_the_bit_even_from_an_error() -> None:
    model = small(torch.float32)
    average = MovingAverage(model, decay=0.9)
    move(model, 1)
    average.update()
    move(model, 2)
    own = weights(model)
    with average.averaged():
        inside = weights(model)
    with pytest.raises(KeyError), average.averaged():
        raise KeyError
    assert all(torch.equal(p, own[name]) for name, p in weights(model).items())
    assert not any(torch.equal(p, own[name]) for name, p in inside.items())
    with average.averaged():
        assert all(torch.equal(p, inside[name]) for name, p in weights(model).items())


def test_a_run_gone_on_with_has_the_same_average() -> None:
    model = small()
    whole = MovingAverage(model, decay=0.9)
    for step in range(3):
        move(model, step)
        whole.update()
    state = copy.deepcopy(whole.state_dict())
    stopped = copy.deepcopy(model)
    resumed = MovingAverage(stopped, decay=0.9)
    resumed.load_state_dict(state)
    for step in range(3, 6):
        for each, average in ((model, whole), (stopped, resumed)):
            move(each, step)
            average.update()
    assert whole.updates == resumed.updates == 6
    for name, kept in whole.state_dict()["averages"].items():
        assert torch.equal(kept, resumed.state_dict()["averages"][name])


def test_a_state_is_a_copy() -> None:
    model = small()
    average = MovingAverage(model)
    before = average.state_dict()
    kept = copy.deepcopy(before)
    move(model, 1)
    average.update()
    assert all(torch.equal(before["averages"][name], old) for name, old in kept["averages"].items())


def test_only_what_learns_is_averaged() -> None:
    backbone = scratch()
    updates = add_lora(picture_tower(backbone))
    average = MovingAverage(backbone, decay=0.5, warm_up=False)
    assert len(average.state_dict()["averages"]) == len(updates)
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before_BE = backbone.encode_image(pixels)
    for step in range(2):
        move(backbone, step)
        average.update()
    now_BE = backbone.encode_image(pixels)
    with average.averaged():
        inside_BE = backbone.encode_image(pixels)
    assert not torch.equal(inside_BE, before_BE)
    assert not torch.equal(inside_BE, now_BE)
    torch.testing.assert_close(backbone.encode_image(pixels), now_BE, atol=0, rtol=0)


def test_half_precision_weights_have_a_whole_average() -> None:
    """At 0.999 a step is far below bfloat16's resolution, and an average in it would never move."""
    model = small(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1)
    average = MovingAverage(model, decay=0.999, warm_up=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(2)
    for _ in range(700):
        average.update()
    expected = 2 - 0.999**700
    for kept in average.state_dict()["averages"].values():
        assert kept.dtype == torch.float32
        torch.testing.assert_close(kept, torch.full_like(kept, expected), rtol=1e-4, atol=1e-4)
    with average.averaged():
        assert all(p.dtype == torch.bfloat16 for p in model.parameters())


def test_what_cannot_be_averaged_is_refused() -> None:
    model = small()
    for decay in (-0.1, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="decay of the average must be 0 or more and below 1"):
            MovingAverage(model, decay=decay)
    with pytest.raises(ParameterError, match="one with weights that learn, got none"):
        MovingAverage(small().requires_grad_(False))
    average = MovingAverage(model)
    kept = average.state_dict()["averages"]
    second_layer = {name: tensor for name, tensor in kept.items() if name.startswith("1.")}
    with pytest.raises(ParameterError, match=r"got 2 that differ, 0\.bias among them"):
        average.load_state_dict({"updates": 0, "averages": second_layer})
    with pytest.raises(ParameterError, match=r"got 1 that differ, 1\.bias among them"):
        average.load_state_dict({"updates": 0, "averages": kept | {"1.bias": torch.zeros(2)}})
    with average.averaged():
        with pytest.raises(RuntimeError, match="inside averaged"):
            average.update()
        with pytest.raises(RuntimeError, match="inside averaged"), average.averaged():
            pass
