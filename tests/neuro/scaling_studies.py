"""Studies whose law is known: losses of runs that were never trained."""

from __future__ import annotations

import numpy as np

from neuro.scaling.finished import Finished
from neuro.scaling.grid import Cell

LAW = {"E": 0.35, "A": 4.0, "B": 10.0, "alpha": 0.34, "beta": 0.28}
SIZES, AMOUNTS = np.geomspace(2e4, 2e6, 4), np.geomspace(5e4, 4e6, 4)


def loss_of(params: float, seen: float, law: dict[str, float] = LAW) -> float:
    return law["E"] + law["A"] / params ** law["alpha"] + law["B"] / seen ** law["beta"]


def theta_of(law: dict[str, float] = LAW) -> np.ndarray:
    return np.array([*np.log([law["E"], law["A"], law["B"]]), law["alpha"], law["beta"]])


def study(
    *,
    noise: float = 0.0,
    seeds: int = 1,
    draw: int = 0,
    sizes: np.ndarray = SIZES,
    amounts: np.ndarray = AMOUNTS,
    law: dict[str, float] = LAW,
) -> list[Finished]:
    """Runs of all sizes and amounts, their losses off by normal noise of the log."""
    rng = np.random.default_rng(draw)
    return [
        Finished(
            params=round(size),
            seen=amount,
            compute=6 * round(size) * amount,
            loss=loss_of(round(size), amount, law) * float(np.exp(noise * rng.normal())),
            seed=seed,
        )
        for size in sizes
        for amount in amounts
        for seed in range(seeds)
    ]


def trained(cell: Cell, noise: float = 0.003) -> Finished:
    """A cell as if it had been trained: the same one always ends with the same loss."""
    params, seen = 12 * cell.size.width**2 * cell.size.depth, 2e5 * cell.share * cell.passes
    rng = np.random.default_rng([cell.seed, cell.size.width, round(1000 * cell.share)])
    loss = loss_of(params, seen) * float(np.exp(noise * rng.normal()))
    return Finished(params=params, seen=seen, compute=20 * params**0.95 * seen, loss=loss, seed=cell.seed)
