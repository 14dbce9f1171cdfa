"""The law of loss: planted coefficients come back, a second way ends there too, poor grids are refused."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, least_squares

from data.errors import ParameterError
from neuro.scaling.finished import Finished, cells, column
from neuro.scaling.frontier import (
    best_cells,
    best_loss,
    best_params,
    fit_compute_law,
    fit_cost,
    gamma,
)
from neuro.scaling.law import fit_law, log_grid, noise_delta
from neuro.scaling.power_sum import DELTA, fit_power_sum, log_values, objective

from .scaling_studies import AMOUNTS, LAW, SIZES, loss_of, study, theta_of

CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
GREW = np.geomspace(1e4, 1e7, 7)
DIAGONAL = study(sizes=GREW, amounts=GREW)[::8]  # each larger model sees more
STEEP = {"E": 0.02, "A": 900.0, "B": 3000.0, "alpha": 0.9, "beta": 0.7}


@pytest.mark.parametrize(
    ("law", "sizes", "amounts"),
    [
        (LAW, SIZES, AMOUNTS),
        (STEEP, SIZES, AMOUNTS),
        (CHINCHILLA, np.geomspace(7e7, 1.6e10, 5), np.geomspace(5e9, 5e11, 5)),
    ],
    ids=["brains", "steep", "language"],
)
@pytest.mark.parametrize("delta", [None, 1.0])
def test_planted_coefficients_come_back(
    law: dict[str, float], sizes: np.ndarray, amounts: np.ndarray, delta: float | None
) -> None:
    found = fit_law(study(law=law, sizes=sizes, amounts=amounts), delta=delta)
    assert found.coefficients == pytest.approx(law, rel=1e-3)
    assert found.undetermined == ()
    assert found.loss(10 * sizes[-1], 10 * amounts[-1])[0] == pytest.approx(
        loss_of(10 * sizes[-1], 10 * amounts[-1], law), rel=1e-5
    )


def slow_objective(theta: np.ndarray, runs: list[Finished], delta: float) -> float:
    total = 0.0
    for run in runs:
        loss = math.exp(theta[0])
        loss += math.exp(theta[1]) * run.params ** -theta[3] + math.exp(theta[2]) * run.seen ** -theta[4]
        off = abs(math.log(loss) - math.log(run.loss))
        total += off * off / 2 if off <= delta else delta * (off - delta / 2)
    return total


@settings(max_examples=30, deadline=None)
@given(draw=st.integers(0, 10_000), delta=st.sampled_from([1e-3, 0.02, 1.0]))
def test_objective_and_gradient_equal_the_slow_twin(draw: int, delta: float) -> None:
    runs = study(noise=0.05, draw=draw)
    theta = theta_of() * np.random.default_rng(draw).uniform(0.8, 1.2, 5)
    x, y = log_grid(runs), np.log(column(runs, "loss"))
    assert objective(theta, x, y, delta)[0] == pytest.approx(slow_objective(theta, runs, delta), rel=1e-9)
    if delta == 1.0:  # smooth everywhere: finite differences then know the slope
        error = check_grad(
            lambda t: objective(t, x, y, delta)[0], lambda t: objective(t, x, y, delta)[1], theta
        )
        assert error < 1e-4 * np.linalg.norm(objective(theta, x, y, delta)[1]) + 1e-6


@pytest.mark.parametrize("noise", [0.003, 0.02])
@pytest.mark.parametrize("delta", [1e-3, 0.02, 1.0])
def test_another_optimiser_ends_at_the_same_objective(noise: float, delta: float) -> None:
    """scipy's trust region with its own Huber loss, in E, A, B and not their logs, from several starts."""
    runs = study(noise=noise, seeds=2, draw=5)
    found = fit_law(runs, delta=delta)
    params, seen, log_loss = column(runs, "params"), column(runs, "seen"), np.log(column(runs, "loss"))

    def residuals(p: np.ndarray) -> np.ndarray:
        powers = p[1] * (params / 2e5) ** -p[3] + p[2] * (seen / 5e5) ** -p[4]
        return np.log(p[0] + powers) - log_loss

    ends = [
        least_squares(
            residuals,
            [floor, 0.1, 0.2, exponent, exponent],
            bounds=([1e-6, 0, 0, 0.01, 0.01], [1, 5, 5, 4, 4]),
            loss="huber",
            f_scale=delta,
            xtol=1e-15,
            ftol=1e-15,
            gtol=1e-15,
            max_nfev=2000,
        ).cost
        for floor in (0.1, 0.4)
        for exponent in (0.2, 0.6)
    ]
    assert found.objective <= min(ends) * (1 + 1e-9)
    assert found.objective == pytest.approx(min(ends), rel=1e-3)


@settings(max_examples=5, deadline=None)
@given(unit=st.floats(0.01, 1000), height=st.floats(0.01, 100))
def test_other_units_change_scales_and_nothing_else(unit: float, height: float) -> None:
    """Clips for tokens, or a loss of another height: exponents stay."""
    runs = study(noise=0.003, draw=3)
    other = [dataclasses.replace(run, seen=run.seen * unit, loss=run.loss * height) for run in runs]
    here, there = fit_law(runs).coefficients, fit_law(other).coefficients
    assert there["alpha"] == pytest.approx(here["alpha"], rel=1e-4)
    assert there["beta"] == pytest.approx(here["beta"], rel=1e-4)
    assert there["E"] == pytest.approx(height * here["E"], rel=1e-3)
    assert there["B"] == pytest.approx(height * here["B"] * unit ** here["beta"], rel=1e-2)


def test_the_order_of_runs_does_not_matter() -> None:
    runs = study(noise=0.01, seeds=2, draw=4)
    forth, back = fit_law(runs), fit_law(runs[::-1])
    np.testing.assert_allclose(forth.theta_P, back.theta_P, rtol=1e-4)


def test_one_wild_run_hardly_moves_a_huber_fit() -> None:
    runs = study(noise=0.002, seeds=2, draw=6)
    wild = [dataclasses.replace(runs[0], loss=runs[0].loss * 1.5), *runs[1:]]
    point = (2e7, 4e7)
    clean = fit_law(runs).loss(*point)[0]
    robust, squared = (fit_law(wild, delta=delta).loss(*point)[0] for delta in (DELTA, 10.0))
    assert abs(robust / clean - 1) < 0.01 < abs(squared / clean - 1)


def test_delta_follows_the_noise_between_seeds() -> None:
    assert noise_delta(study(noise=0.02, seeds=3, draw=1)) == pytest.approx(1.345 * 0.02, rel=0.25)
    assert noise_delta(study(noise=0.02, seeds=1)) == DELTA  # nothing is known of the noise
    assert noise_delta(study(noise=0.0, seeds=3)) == DELTA


def test_what_size_does_not_change_is_told() -> None:
    runs = [dataclasses.replace(run, loss=loss_of(1e5, run.seen)) for run in study()]
    found = fit_law(runs)
    sizes = found.loss(SIZES, AMOUNTS[0])
    assert sizes.max() / sizes.min() < 1.0001


def test_diverged_runs_are_left_out() -> None:
    runs = study()
    lost = [dataclasses.replace(run, loss=math.nan, seed=1) for run in runs[:2]]
    assert fit_law([*lost, *runs]).coefficients == pytest.approx(LAW, rel=1e-3)


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ([], "model sizes"),
        (study(sizes=SIZES[:2]), "model sizes"),
        (study(amounts=AMOUNTS[:2]), "amounts of data"),
        (study(sizes=np.array([1e5, 1.1e5, 1.2e5])), "1.5 times"),
        (study()[:1] * 30, "model sizes"),
        ([study()[i] for i in (0, 5, 10, 15, 4)], "at least 6, got 5"),
        (DIAGONAL, "crossed"),
    ],
    ids=["none", "two sizes", "two amounts", "alike", "one cell", "five cells", "diagonal"],
)
def test_poor_grids_are_refused(runs: list[Finished], words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        fit_law(runs)


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_a_delta_that_is_none_is_refused(delta: float) -> None:
    with pytest.raises(ParameterError, match="delta"):
        fit_law(study(), delta=delta)


@pytest.mark.parametrize(
    "changed", [{"params": 0}, {"seen": -1.0}, {"compute": math.inf}, {"loss": 0.0}, {"loss": -0.3}]
)
def test_impossible_runs_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(changed))):
        dataclasses.replace(study()[0], **changed)


def test_batches_of_coefficients_give_each_its_values() -> None:
    x = log_grid(study())
    thetas = np.stack([theta_of(), theta_of(STEEP)])
    np.testing.assert_allclose(log_values(thetas, x)[1], log_values(thetas[1], x))
    np.testing.assert_allclose(np.exp(log_values(thetas[0], x)), column(study(), "loss"))


@pytest.mark.parametrize("power", [1.0, 0.8])
def test_the_best_size_is_that_of_a_search(power: float) -> None:
    runs = [dataclasses.replace(run, compute=7 * run.params**power * run.seen) for run in study()]
    cost = fit_cost(runs)
    assert cost.power == pytest.approx(power, rel=1e-9)
    assert cost.worst < 1e-9
    for compute in (1e11, 1e15):
        sizes = np.geomspace(1e2, 1e9, 200_001)
        seen = compute / (7 * sizes**power)
        losses = LAW["E"] + LAW["A"] / sizes ** LAW["alpha"] + LAW["B"] / seen ** LAW["beta"]
        found = np.exp(best_params(theta_of(), cost, compute)[0])
        assert found == pytest.approx(sizes[losses.argmin()], rel=1e-3)
        assert best_loss(theta_of(), cost, compute)[0] == pytest.approx(losses.min(), rel=1e-7)
        assert cost.seen(found, compute) == pytest.approx(compute / (7 * found**power), rel=1e-6)
        assert cost.compute(found, cost.seen(found, compute)) == pytest.approx(compute)


def test_gamma_is_the_slope_of_the_frontier_above_the_floor() -> None:
    cost, computes = fit_cost(study()), np.array([1e12, 1e14])
    above = best_loss(theta_of(), cost, computes) - LAW["E"]
    slope = np.log(above[0] / above[1]) / np.log(100)
    assert gamma(theta_of(), cost) == pytest.approx(slope)


def test_compute_law_of_points_on_a_frontier_comes_back() -> None:
    computes = np.geomspace(1e10, 1e15, 8)
    runs = [
        Finished(params=100 * (i + 1), seen=1.0, compute=c, loss=0.3 + 40 * c**-0.2)
        for i, c in enumerate(computes)
    ]
    found = fit_compute_law(runs)
    assert found.coefficients == pytest.approx({"E": 0.3, "A": 40, "gamma": 0.2}, rel=1e-3)
    assert found.loss(1e17)[0] == pytest.approx(0.3 + 40 * 1e17**-0.2, rel=1e-4)
    assert len(found.best) == 8


def test_best_cells_are_those_that_no_cheaper_one_equals() -> None:
    runs = study(noise=0.02, seeds=3, draw=2)
    kept = [cell for cell, _, _ in best_cells(runs)]
    means = {
        cell: (runs[at[0]].compute, np.exp(np.mean([np.log(runs[i].loss) for i in at])))
        for cell, at in cells(runs).items()
    }
    slow = [
        cell
        for cell, (compute, loss) in means.items()
        if not any(c < compute and other <= loss for c, other in means.values())
    ]
    assert kept == slow


def test_a_frontier_of_few_cells_is_refused() -> None:
    with pytest.raises(ParameterError, match="best at their compute"):
        fit_compute_law(study()[:3])


def test_cost_of_one_size_is_refused() -> None:
    with pytest.raises(ParameterError, match="model sizes"):
        fit_cost(study()[:2])


@pytest.mark.slow
def test_no_random_start_finds_a_lower_objective_than_the_grid() -> None:
    rng = np.random.default_rng(0)
    for noise, delta in ((0.003, 1e-3), (0.02, 1e-3), (0.02, 0.03)):
        runs = study(noise=noise, seeds=2, draw=7)
        x, loss = log_grid(runs), column(runs, "loss")
        starts = [theta_of() + rng.normal(size=5) * [1, 2, 2, 0.3, 0.3] for _ in range(100)]
        found = fit_power_sum(x, loss, delta=delta)
        assert found.objective <= fit_power_sum(x, loss, delta=delta, starts=starts).objective * (1 + 1e-6)
