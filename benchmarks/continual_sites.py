"""Simulated sites for `benchmarks.continual`: regions, a pair of which is less coupled in patients.

Every site has a scanner of its own: noise, and how much of every region leaks into its neighbours.
Letters: T frames, R regions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neuro.classifier.samples import spec_of_array
from neuro.continual.runs import Runs
from neuro.tokens.parcels import parcel_tokens_of_array

REGIONS, FRAMES = 8, 60
LEFT, RIGHT = (0, 1), (4, 5)
COUPLED, LESS = 0.8, 0.2  # of the pair, in controls and in patients; people differ by SPREAD
SPREAD = 0.1


@dataclass(frozen=True, kw_only=True)
class SiteSpec:
    """A site.

    Attributes:
        name: of it.
        pair: the regions that are less coupled in its patients.
        turned: whether its diagnoses are turned round, as a spreadsheet with the columns mixed up would have.
        noise: of its scanner, of a signal of 1.
        leak: of its scanner, from one region to the next.
    """

    name: str
    pair: tuple[int, int] = LEFT
    turned: bool = False
    noise: float = 0.3
    leak: float = 0.1


SCENARIOS = {
    "another scanner": (
        SiteSpec(name="A"),
        SiteSpec(name="B", noise=0.6, leak=0.3),
        SiteSpec(name="C", noise=0.9, leak=0.0),
    ),
    "another side": (
        SiteSpec(name="A"),
        SiteSpec(name="B", pair=RIGHT, noise=0.6, leak=0.3),
        SiteSpec(name="C", pair=(2, 7), noise=0.9, leak=0.0),
    ),
    "diagnoses turned round at C": (
        SiteSpec(name="A"),
        SiteSpec(name="B", noise=0.6, leak=0.3),
        SiteSpec(name="C", turned=True, noise=0.9, leak=0.0),
    ),
}


def people_of_site(site: SiteSpec, count: int, *, seed: int, first: int = 0) -> Runs:
    """So many people, half of them patients; another `first` gives other people."""
    labels = np.arange(count) % 2
    numbers = range(first, first + count)
    series = [_series(site, int(label), seed, number) for label, number in zip(labels, numbers, strict=True)]
    names = np.array([f"{seed}-{site.name}-{number}" for number in numbers], dtype=object)
    spec = spec_of_array(FRAMES)
    return Runs(
        tokens=[parcel_tokens_of_array(s, spec, run_id=str(n)) for s, n in zip(series, names, strict=True)],
        labels=(labels if not site.turned else 1 - labels).astype(np.int64),
        people=names,
        sites=np.array([site.name] * count, dtype=object),
        run_ids=names,
    )


def _series(site: SiteSpec, label: int, seed: int, number: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, ord(site.name), number])
    series_TR = rng.standard_normal((FRAMES, REGIONS))
    first, second = site.pair
    share = np.clip((LESS if label else COUPLED) + SPREAD * rng.standard_normal(), 0, 0.95)
    series_TR[:, second] = share * series_TR[:, first] + np.sqrt(1 - share**2) * series_TR[:, second]
    series_TR += site.leak * np.roll(series_TR, 1, axis=1)
    noisy: NDArray[np.float32] = (series_TR + site.noise * rng.standard_normal(series_TR.shape)).astype(
        np.float32
    )
    return noisy
