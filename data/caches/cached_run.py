"""One run of a cache, memory-mapped: a folder with its cleaned series -> z-scores (n, V) of any frames.

A folder holds series.npy (frames by voxels, float16 z-scores or int8 codes; see `data.caches.precision`), for
int8 scale.npy, mean.npy, std.npy (float32), mask.npy (packed bits), trace.tsv (one row a raw frame),
run.json, and parcels/ (`data.parcels.series`). `data.caches.run_writing` makes it.
Letters: T frames kept, V in-mask voxels in C order of the mask, n frames of a clip.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.caches.precision import Codes, Floats, decoded
from data.errors import BadFileError, ParameterError

FACTS, SERIES, SCALE, MEAN, STD, MASK = (
    "run.json",
    "series.npy",
    "scale.npy",
    "mean.npy",
    "std.npy",
    "mask.npy",
)
TRACE = "trace.tsv"


@dataclass(frozen=True, kw_only=True, eq=False)
class CachedRun:
    """One run of a cache.

    Attributes:
        series_TV: np.memmap as stored: float16 z-scores, or int8 codes that `scale_V` turns into z-scores.
            Read it through `frames`, which is right for both.
        mean_V: np.memmap, float32, temporal mean of the raw series, in the recipe's units of intensity.
        std_V: np.memmap, float32, standard deviation after cleaning in the same units; 0 for constant voxels.
        mask_XYZ: bool; `mask_XYZ` is true V times, and `volume[mask_XYZ] = run.frames(t, t + 1)[0]` puts a
            frame back.
        affine: (4, 4), voxel indices -> mm.
        tr: seconds between the frames, after any resampling.
        scale_V: np.memmap, float32, z-score of one step of the codes; None for float16.
        facts: what run.json holds: `quality` (see `data.quality.run_quality.measure`), `notes`, `tr_raw`,
            `freedom`, ...
    """

    run_id: str
    participant_id: str
    series_TV: Codes
    mean_V: Floats
    std_V: Floats
    mask_XYZ: NDArray[np.bool_]
    affine: NDArray[np.float64]
    tr: float
    scale_V: Floats | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """T."""
        return int(self.series_TV.shape[0])

    def frames(self, start: int = 0, stop: int | None = None) -> Floats:
        """z-scores of frames `start` to `stop` - 1, float32 (n, V), whatever the precision of the cache.

        Raises:
            ParameterError: they are not frames of the run.
        """
        return decoded(self._stored(start, stop), self.scale_V)

    def raw(self, start: int = 0, stop: int | None = None) -> Floats:
        """The cleaned signal of these frames with the mean that cleaning took away, in raw units: (n, V).

        Raises:
            ParameterError: they are not frames of the run.
        """
        raw_nV = self.frames(start, stop)
        raw_nV *= self.std_V
        raw_nV += self.mean_V
        return raw_nV

    def _stored(self, start: int, stop: int | None) -> Codes:
        stop = self.n_frames if stop is None else stop
        if not 0 <= start < stop <= self.n_frames:
            raise ParameterError(
                f"frames of run {self.run_id}",
                must_be=f"a range within 0 to {self.n_frames}",
                got=f"{start} to {stop}",
            )
        return self.series_TV[start:stop]


def open_run(folder: Path, participant_id: str) -> CachedRun:
    """Map a run's folder.

    Raises:
        BadFileError: its files are gone or damaged, or it holds parcel series alone.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["shape"] is None:
            raise BadFileError(
                "cached run",
                must_be="one with voxels",
                got="parcel series only",
                do="read it with `Cache.parcels`",
                path=folder,
            )
        shape = tuple(facts["shape"])
        packed = np.load(folder / MASK)
        run = CachedRun(
            run_id=folder.name,
            participant_id=participant_id,
            series_TV=_mapped(folder / SERIES),
            mean_V=_mapped(folder / MEAN),
            std_V=_mapped(folder / STD),
            mask_XYZ=np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).view(np.bool_),
            affine=np.array(facts["affine"]),
            tr=float(facts["tr"]),
            scale_V=_mapped(folder / SCALE) if facts["precision"] == "int8" else None,
            facts=facts,
        )
        _check_shapes(run)
    except BadFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            "cached run", must_be="whole", got=str(error), do="run `neuro prepare` again", path=folder
        ) from error
    return run


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def _check_shapes(run: CachedRun) -> None:
    """ValueError where files of different runs or recipes lie in one folder."""
    frames, voxels = run.facts["n_frames"], run.facts["n_voxels"]
    found = {"series": run.series_TV.shape, "mean": run.mean_V.shape, "std": run.std_V.shape}
    wanted = {"series": (frames, voxels), "mean": (voxels,), "std": (voxels,)}
    if run.scale_V is not None:
        found, wanted = {**found, "scale": run.scale_V.shape}, {**wanted, "scale": (voxels,)}
    wrong = [name for name in wanted if found[name] != wanted[name]]
    if wrong or run.series_TV.dtype != run.facts["precision"]:
        raise ValueError(f"{wrong[0] if wrong else 'series'}.npy is not of this run")
