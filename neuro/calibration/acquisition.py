"""How runs were acquired, and in what a new one differs from all that a model was trained on, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun

WORDS = ("space", "site")
AXES = ("voxel_x", "voxel_y", "voxel_z")


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A figure of an acquisition.

    Attributes:
        name: a column of `acquisition_table`.
        says: in words.
        unit: of the figure.
        slack: how far beyond the range of training it may lie, as a share of the figure. Of what differs
            between people the range of a few says little.
        low, high: whether below, or above, is a mismatch: a longer or stiller run is none.
    """

    name: str
    says: str
    unit: str
    slack: float = 0.05
    low: bool = True
    high: bool = True


MEASURES = (
    Measure(name="tr", says="repetition time", unit="s"),
    *(Measure(name=axis, says=f"voxel edge along {axis[-1]}", unit="mm") for axis in AXES),
    Measure(name="frames", says="frames", unit="", high=False),
    Measure(name="fd_mean", says="mean framewise displacement", unit="mm", slack=0.25, low=False),
    Measure(name="tsnr", says="temporal signal-to-noise", unit="", slack=0.25, high=False),
)


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """The range of acquisitions of a training cohort.

    Attributes:
        ranges: of each measure that was known of any run, the least and the greatest.
        words: of `space` and `site`, all that were there, sorted.
    """

    ranges: dict[str, tuple[float, float]]
    words: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Fingerprint:
        """That of a table with columns of `acquisition_table`; those that are absent are unknown."""
        ranges = {}
        for measure in MEASURES:
            values = (
                table[measure.name].astype(float).dropna()
                if measure.name in table
                else pd.Series([], dtype=float)
            )
            if len(values):
                ranges[measure.name] = float(values.min()), float(values.max())
        found = {name: {str(v) for v in table[name].dropna()} for name in WORDS if name in table}
        return cls(ranges=ranges, words={name: tuple(sorted(v)) for name, v in found.items() if v})

    def __or__(self, other: Fingerprint) -> Fingerprint:
        """What either has seen."""
        ranges = dict(self.ranges)
        for name, (low, high) in other.ranges.items():
            least, most = ranges.get(name, (low, high))
            ranges[name] = min(low, least), max(high, most)
        names = {*self.words, *other.words}
        words = {n: tuple(sorted({*self.words.get(n, ()), *other.words.get(n, ())})) for n in names}
        return Fingerprint(ranges=ranges, words=words)

    def mismatches(self, acquisition: Mapping[str, Any]) -> tuple[str, ...]:
        """A sentence for each thing in which a run lies outside of training."""
        wrong = [
            f"{m.says} {figure_in_words(float(acquisition[m.name]), m.unit)}; training runs had"
            f" {range_in_words(*self.ranges[m.name], m.unit)}"
            for m in MEASURES
            if self._comparable(m.name, acquisition) and self._outside(m, float(acquisition[m.name]))
        ]
        for name in WORDS:
            if self._comparable(name, acquisition) and str(acquisition[name]) not in self.words[name]:
                wrong.append(
                    f"{name} {acquisition[name]}; training runs were of {', '.join(self.words[name])}"
                )
        return tuple(wrong)

    def unknown(self, acquisition: Mapping[str, Any]) -> tuple[str, ...]:
        """What is known of training and not of this run."""
        names = {m.name: m.says for m in MEASURES} | {name: name for name in WORDS}
        known = {**self.ranges, **self.words}
        return tuple(
            says for name, says in names.items() if name in known and _missing(acquisition.get(name))
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ranges": {name: list(pair) for name, pair in self.ranges.items()},
            "words": {name: list(names) for name, names in self.words.items()},
        }

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Fingerprint:
        """What `to_dict` told."""
        return cls(
            ranges={name: (float(low), float(high)) for name, (low, high) in given["ranges"].items()},
            words={name: tuple(map(str, names)) for name, names in given["words"].items()},
        )

    def _comparable(self, name: str, acquisition: Mapping[str, Any]) -> bool:
        return (name in self.ranges or name in self.words) and not _missing(acquisition.get(name))

    def _outside(self, measure: Measure, value: float) -> bool:
        low, high = self.ranges[measure.name]
        below, above = value < low * (1 - measure.slack), value > high * (1 + measure.slack)
        return (measure.low and below) or (measure.high and above)


def acquisition_table(cache: Cache) -> pd.DataFrame:
    """One row a run of a cache: columns of MEASURES and WORDS, NaN where a thing is not known."""
    rows = []
    for i, record in enumerate(cache.table.to_dict("records")):
        row = {str(name): value for name, value in record.items()}
        rows.append(acquisition_of(cache.run(i), row) if row["n_voxels"] > 0 else _told(row))
    columns = [measure.name for measure in MEASURES] + list(WORDS)
    return pd.DataFrame(rows, index=cache.table.index).reindex(columns=columns)


def acquisition_of(run: CachedRun, known: Mapping[str, Any]) -> dict[str, Any]:
    """The acquisition of one cleaned run.

    Voxels, repetition time and frames are those of the raw run where it is known what they were, else those
    after cleaning; both are the same unless the recipe resamples.

    Args:
        run: of a cache.
        known: `space` and `site` where they are known, such as a row of the cohort's table.
    """
    quality = run.facts.get("quality") or {}
    edges = np.linalg.norm(run.affine[:3, :3], axis=0)
    return _told(known) | {
        "tr": run.facts.get("tr_raw") or run.tr,
        **{axis: round(float(edge), 4) for axis, edge in zip(AXES, edges, strict=True)},
        "frames": run.n_frames,
        "fd_mean": _number(quality.get("fd_mean")),
        "tsnr": _number(quality.get("tsnr")),
    }


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row of the cohort's table says, where the run itself holds no voxels."""
    return {
        "tr": _number(row.get("tr")),
        "frames": _number(row.get("n_frames")),
        "fd_mean": _number(row.get("fd_mean")),
        **{name: None if _missing(row.get(name)) else str(row[name]) for name in WORDS},
    }


def _number(value: Any) -> float:
    return math.nan if _missing(value) else float(value)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or value == "" or (isinstance(value, float) and math.isnan(value))


def figure_in_words(value: float, unit: str) -> str:
    """`2.4 mm`; whole numbers in full, as 1200 frames are not 1.2e+03."""
    return f"{value:.0f}" if not unit and value == round(value) else f"{value:.3g} {unit}".strip()


def range_in_words(low: float, high: float, unit: str) -> str:
    """`2.4 to 3 mm`, or one figure where both are alike."""
    if math.isclose(low, high, rel_tol=1e-3):
        return figure_in_words(low, unit)
    least = figure_in_words(low, unit).removesuffix(unit).strip()
    return f"{least} to {figure_in_words(high, unit)}"
