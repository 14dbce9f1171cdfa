"""How runs are cleaned, and one string that says it: `Recipe(...)`.identity names caches and results."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from data.confounds import STRATEGIES
from data.errors import ParameterError, UnknownNameError, nearest

VERSION = 1  # of the arithmetic of cleaning: raise it when the same recipe begins to give other numbers


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How runs are cleaned; equal recipes have equal `identity`.

    Attributes:
        confounds: a key of `data.confounds.STRATEGIES`: none, 6p, 9p, simple, scrubbing, compcor.
        detrend: remove the mean and the linear trend.
        high_pass: Hz, or None.
        low_pass: Hz, or None (Butterworth of fifth order, forwards and backwards, as nilearn's).
        smooth_mm: full width at half maximum of a Gaussian applied to whole volumes first, or None.
        drop_frames: frames dropped at the start, before anything else.

    Raises:
        UnknownNameError: no such strategy.
        ParameterError: a number that cannot work.
    """

    confounds: str = "simple"
    detrend: bool = True
    high_pass: float | None = 0.01
    low_pass: float | None = 0.1
    smooth_mm: float | None = None
    drop_frames: int = 0

    def __post_init__(self) -> None:
        if self.confounds not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise UnknownNameError(
                "confounds",
                must_be=f"one of {known}",
                got=self.confounds,
                do=nearest(self.confounds, STRATEGIES),
            )
        for name in ("high_pass", "low_pass", "smooth_mm"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParameterError(name, must_be="a positive number or None", got=value)
        if self.high_pass is not None and self.low_pass is not None and self.high_pass >= self.low_pass:
            raise ParameterError(
                "high_pass", must_be=f"below low_pass ({self.low_pass:g} Hz)", got=self.high_pass
            )
        if self.drop_frames < 0:
            raise ParameterError("drop_frames", must_be="zero or more", got=self.drop_frames)

    @property
    def identity(self) -> str:
        """Readable and stable, such as `simple+detrend+0.01-0.1Hz-1a2b3c4d`; it stands in every result."""
        parts = [self.confounds]
        parts += ["detrend"] if self.detrend else []
        parts += [self.band] if self.band else []
        parts += [f"smooth{self.smooth_mm:g}mm"] if self.smooth_mm is not None else []
        parts += [f"drop{self.drop_frames}"] if self.drop_frames else []
        content = {
            key: float(value)
            if key in ("high_pass", "low_pass", "smooth_mm") and value is not None
            else value
            for key, value in asdict(self).items()
        }
        text = json.dumps([VERSION, content], sort_keys=True)
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
