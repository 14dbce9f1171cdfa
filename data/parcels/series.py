"""Mean series of regions: voxels (T, V) and labels (V,) -> (T, R); cleaned, they lie beside a cached run.

A run's folder holds parcels/<atlas>.npy, float32 z-scores (F, R), and parcels/<atlas>.json with the atlas'
digest, the regions' names and for each of them mean, standard deviation and coverage.
Letters: T frames of the run, F frames kept, V in-mask voxels in C order of the mask, R regions, B voxels of a
block.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.cleaning.clean_voxels import BLOCK_VOXELS, clean_blocks
from data.errors import BadFileError, ParameterError
from data.parcels.atlases import Atlas
from data.writing import whole_file, write_whole

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int32]
Mask = NDArray[np.bool_]

FOLDER = "parcels"


@dataclass(frozen=True, kw_only=True, eq=False)
class Parcels:
    """Series of an atlas' regions in one run.

    Attributes:
        atlas: the atlas' name.
        digest: of its labels, affine and names; what has another one is another atlas under the same name.
        regions: R names.
        z_FR: float32 z-scores over time (sample standard deviation); 0 for a region without a signal.
        mean_R: temporal mean of the raw series.
        std_R: standard deviation after cleaning, in raw units; 0 for a region without a signal.
        coverage_R: share of the region's volume that lies in the run's mask, 0 to 1; 0 where no voxel of the
            run that carries a signal lies in it; NaN where the source did not say.
    """

    atlas: str
    digest: str
    regions: tuple[str, ...]
    z_FR: Floats
    mean_R: Floats
    std_R: Floats
    coverage_R: Floats

    def raw(self) -> Floats:
        """The series in raw units (F, R): cleaned, with the mean that cleaning took away."""
        return np.asarray(self.z_FR * self.std_R + self.mean_R, dtype=np.float32)

    def write(self, run_folder: Path) -> None:
        """Write both files into `run_folder`/parcels, each whole or not at all; the table last."""
        folder = run_folder / FOLDER
        folder.mkdir(exist_ok=True)
        with whole_file(folder / f"{self.atlas}.npy") as draft:
            np.save(draft, self.z_FR)
        facts = {
            "digest": self.digest,
            "regions": list(self.regions),
            **{name: _listed(getattr(self, f"{name}_R")) for name in ("mean", "std", "coverage")},
        }
        write_whole(folder / f"{self.atlas}.json", json.dumps(facts))


def _listed(values_R: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values_R]


def open_parcels(run_folder: Path, atlas: str) -> Parcels:
    """The parcels of a run, their series memory-mapped.

    Raises:
        ParameterError: the run has none of this atlas; the message names those that it has.
        BadFileError: a file is damaged.
    """
    known = atlases_in(run_folder)
    if atlas not in known:
        raise ParameterError(
            "atlas",
            must_be=f"one of the cache's ({', '.join(known)})"
            if known
            else "one of the cache's, which has none",
            got=atlas,
            do="run `neuro prepare` again with this atlas",
        )
    path = run_folder / FOLDER / f"{atlas}.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        z_FR = np.load(path.with_suffix(".npy"), mmap_mode="r")
        mean_R, std_R, coverage_R = (np.array(facts[n], np.float32) for n in ("mean", "std", "coverage"))
        regions = tuple(facts["regions"])
        if z_FR.ndim != 2 or not z_FR.shape[1] == len(regions) == len(mean_R) == len(std_R) == len(
            coverage_R
        ):
            raise ValueError(f"series of shape {z_FR.shape} for {len(regions)} regions")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFileError(
            "cached parcels", must_be="whole", got=str(error), do="run `neuro prepare` again", path=path
        ) from error
    return Parcels(
        atlas=atlas,
        digest=facts["digest"],
        regions=regions,
        z_FR=z_FR,
        mean_R=mean_R,
        std_R=std_R,
        coverage_R=coverage_R,
    )


def atlases_in(run_folder: Path) -> tuple[str, ...]:
    """Names of the atlases whose parcels a run's folder holds, sorted."""
    return tuple(sorted(path.stem for path in (run_folder / FOLDER).glob("[!.]*.json")))


def clean_parcels(
    series_TV: Floats, mask_XYZ: Mask, affine: Doubles, atlas: Atlas, operator_FT: Doubles
) -> Parcels:
    """Parcels of a run: the mean over each region's voxels, cleaned.

    Cleaning is linear in time, so the operator on a mean is the mean of what it gives for the voxels, and R
    series are cleaned instead of V.

    Args:
        series_TV: raw in-mask series.
        mask_XYZ: bool; true V times.
        affine: (4, 4), voxel indices -> mm of the atlas' space.
        atlas: the regions.
        operator_FT: from `data.cleaning.operator.cleaning_operator`.

    Raises:
        ParameterError: no voxel of the mask lies in any region.
    """
    labels_V = atlas.on_grid(mask_XYZ.shape, affine)[mask_XYZ]
    if not labels_V.any():
        raise ParameterError(
            f"atlas {atlas.name}",
            must_be="of the run's space",
            got="no region in which a voxel of the mask lies",
            do="name the run's space, or leave the atlas out",
        )
    alive_V = with_signal(series_TV)
    means_TR = parcel_means(series_TV, np.where(alive_V, labels_V, 0), len(atlas.regions))
    alive_XYZ = np.zeros(mask_XYZ.shape, dtype=bool)
    alive_XYZ[mask_XYZ] = alive_V
    coverage_R = np.where(np.isfinite(means_TR[0]), atlas.coverage(alive_XYZ, affine), 0)
    blocks = list(clean_blocks(means_TR.astype(np.float32), operator_FT))
    return Parcels(
        atlas=atlas.name,
        digest=atlas.digest,
        regions=atlas.regions,
        z_FR=np.concatenate([block.z_FB for block in blocks], axis=1),
        mean_R=np.concatenate([block.mean_B for block in blocks]),
        std_R=np.concatenate([block.std_B for block in blocks]),
        coverage_R=coverage_R.astype(np.float32),
    )


def with_signal(series_TV: Floats, block: int = BLOCK_VOXELS) -> Mask:
    """Voxels that are finite and not constant (V,), found a block at a time."""
    alive_V = np.zeros(series_TV.shape[1], dtype=bool)
    for start in range(0, series_TV.shape[1], block):
        raw_TB = series_TV[:, start : start + block]
        least_B, most_B = raw_TB.min(axis=0), raw_TB.max(axis=0)  # NaN where there is one
        alive_V[start : start + block] = np.isfinite(least_B) & np.isfinite(most_B) & (least_B < most_B)
    return alive_V


def parcel_means(series_TV: Floats, labels_V: Labels, n_regions: int, block: int = BLOCK_VOXELS) -> Doubles:
    """Mean series of each region (T, R) in double precision; NaN for a region without a voxel.

    Voxels are read a block at a time: beside the result only some megabytes are held.

    Args:
        series_TV: voxels by time; every value finite where the label is not 0.
        labels_V: 0 for voxels of no region, else 1..R.
        n_regions: R.
        block: voxels read at once.
    """
    from scipy.sparse import csr_array

    sums_RT = np.zeros((n_regions, series_TV.shape[0]))
    for start in range(0, series_TV.shape[1], block):
        label_B = labels_V[start : start + block]
        inside = np.flatnonzero(label_B)
        if inside.size:
            raw_BT = np.ascontiguousarray(series_TV[:, start : start + block][:, inside].T, dtype=np.float64)
            places = (label_B[inside] - 1, np.arange(inside.size))
            sums_RT += csr_array((np.ones(inside.size), places), shape=(n_regions, inside.size)) @ raw_BT
    counts_R = np.bincount(labels_V[labels_V > 0] - 1, minlength=n_regions).astype(np.float64)
    means_RT = np.full_like(sums_RT, np.nan)
    np.divide(sums_RT, counts_R[:, None], out=means_RT, where=counts_R[:, None] > 0)
    return means_RT.T
