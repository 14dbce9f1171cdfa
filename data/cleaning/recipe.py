"""How runs are cleaned, and one string that says it: `Recipe(...)`.identity names caches and results."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from data.cleaning.confound_columns import STRATEGIES
from data.errors import ParameterError, UnknownNameError, nearest

VERSION = 2  # of the arithmetic of cleaning: raise it when the same recipe begins to give other numbers
NUMBERS = ("high_pass", "low_pass", "smooth_mm", "fd_limit_mm", "voxel_mm", "tr")
INTENSITIES = ("none", "grand-mean", "percent")
PRECISIONS = ("float16", "int8")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How runs are cleaned; equal recipes have equal `identity`.

    Attributes:
        confounds: a strategy of `data.cleaning.confound_columns.STRATEGIES` (none, 6p, 9p, simple, scrubbing,
            compcor, ica_aroma), or columns of fMRIPrep's table, with `*` as a wildcard (`("rot_*",
            "trans_*")`), which are kept sorted, since their order changes nothing.
        detrend: remove the mean and the linear trend.
        high_pass: Hz, or None.
        low_pass: Hz, or None (Butterworth of fifth order, forwards and backwards, as nilearn's).
        smooth_mm: full width at half maximum of a Gaussian applied to whole volumes first, or None.
        drop_frames: frames dropped at the start, before anything else.
        fd_limit_mm: frames of a larger framewise displacement are dropped, whatever the strategy, and so are
            segments of fewer than 5 frames between them; None leaves it to the strategy.
        intensity: units of the mean and the standard deviation that a cache keeps: `none` the scanner's,
            `grand-mean` 100 for the mean of the brain, `percent` 100 for the mean of every voxel.
        voxel_mm: edge of the cubes that runs are resampled to (`data.cleaning.resample.grid_in_mm`), or None.
        tr: seconds between the frames that runs are resampled to (`data.cleaning.time_grid`), or None. Choose
            `low_pass` below half the rate of the slowest site: resampling cannot give a slow run the
            frequencies that it never sampled, and what one site lacks tells the sites apart.
        precision: how a cache stores z-scores, `float16` or `int8` with a scale for each voxel.

    Raises:
        UnknownNameError: no such strategy, intensity or precision.
        ParameterError: a number that cannot work, or a band that `tr` cannot carry.
    """

    confounds: str | tuple[str, ...] = "simple"
    detrend: bool = True
    high_pass: float | None = 0.01
    low_pass: float | None = 0.1
    smooth_mm: float | None = None
    drop_frames: int = 0
    fd_limit_mm: float | None = None
    intensity: str = "none"
    voxel_mm: float | None = None
    tr: float | None = None
    precision: str = "float16"

    def __post_init__(self) -> None:
        if isinstance(self.confounds, str):
            _known("confounds", self.confounds, STRATEGIES)
        else:  # a list where it comes from JSON
            object.__setattr__(self, "confounds", _columns(self.confounds))
        _known("intensity", self.intensity, INTENSITIES)
        _known("precision", self.precision, PRECISIONS)
        for name in NUMBERS:
            value = getattr(self, name)
            if value is None:
                continue
            if not (math.isfinite(value) and value > 0):
                raise ParameterError(name, must_be="a positive number or None", got=value)
            object.__setattr__(self, name, float(value))
        if self.drop_frames < 0:
            raise ParameterError("drop_frames", must_be="zero or more", got=self.drop_frames)
        self._check_band()

    def _check_band(self) -> None:
        if self.high_pass is not None and self.low_pass is not None and self.high_pass >= self.low_pass:
            raise ParameterError(
                "high_pass", must_be=f"below low_pass ({self.low_pass:g} Hz)", got=self.high_pass
            )
        for name in ("low_pass", "high_pass"):
            value = getattr(self, name)
            if value is not None and self.tr is not None and value >= 0.5 / self.tr:
                raise ParameterError(
                    name,
                    must_be=f"below {0.5 / self.tr:.4g} Hz, half the rate of the common TR of {self.tr:g} s",
                    got=f"{value:g} Hz",
                    do="lower it, or take a shorter tr",
                )

    @property
    def identity(self) -> str:
        """Readable and stable, such as `simple+detrend+0.01-0.1Hz-1a2b3c4d`; it stands in every result."""
        own = f"own{len(self.confounds)}"
        parts = [self.confounds if isinstance(self.confounds, str) else own]
        parts += ["detrend"] if self.detrend else []
        parts += [self.band] if self.band else []
        parts += [f"smooth{self.smooth_mm:g}mm"] if self.smooth_mm is not None else []
        parts += [f"drop{self.drop_frames}"] if self.drop_frames else []
        parts += [f"fd{self.fd_limit_mm:g}mm"] if self.fd_limit_mm is not None else []
        parts += [self.intensity] if self.intensity != "none" else []
        parts += [f"grid{self.voxel_mm:g}mm"] if self.voxel_mm is not None else []
        parts += [f"tr{self.tr:g}s"] if self.tr is not None else []
        parts += [self.precision] if self.precision != "float16" else []
        text = json.dumps([VERSION, asdict(self)], sort_keys=True)
        return f"{'+'.join(parts)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    @property
    def band(self) -> str:
        """The band in words, or "" where it is open."""
        match self.high_pass, self.low_pass:
            case None, None:
                return ""
            case high, None:
                return f"above{high:g}Hz"
            case None, low:
                return f"below{low:g}Hz"
            case high, low:
                return f"{high:g}-{low:g}Hz"


def _known(what: str, name: str, names: Iterable[str]) -> None:
    if name not in names:
        known = ", ".join(names)
        raise UnknownNameError(what, must_be=f"one of {known}", got=name, do=nearest(name, names))


def _columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Names of columns, sorted and once each; ParameterError where there is none, or something else."""
    listed = list(columns)
    if not listed or not all(isinstance(name, str) and name.strip() for name in listed):
        raise ParameterError(
            "confounds",
            must_be="a strategy or names of columns",
            got=listed or "an empty list",
            do="take 'none' for no confounds",
        )
    return tuple(sorted({name.strip() for name in listed}))
