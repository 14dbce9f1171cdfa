"""Series of Brainmarks' spaces -> Chiasm's tokens: the only place that knows how either lays out its data.

Letters: V voxels of the template's mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from chiasm_plugin.series import Series
from data.caches.cached_run import CachedRun
from data.errors import ParameterError
from data.exchange.arrow_layout import DIMENSIONS, MNI_AFFINE
from data.exchange.arrow_voxels import TemplateVoxels
from data.parcels.series import Parcels
from neuro.tokens import ParcelSpec, RunTokens, TokenSpec, VolumeSpec, cubes, parcel_tokens


class Space(Protocol):
    """What the plug-in asks of a space.

    Attributes:
        name: as Brainmarks calls it.
        dimensions: D.
    """

    name: str
    dimensions: int

    @property
    def frames(self) -> int:
        """Frames of a clip."""

    def tokens(self, series: Series) -> RunTokens:
        """A run of at least `frames` frames, cut."""


class ParcelSpace:
    """Regions of an atlas; where they lie is not in Brainmarks' data, so each is known by its number.

    Args:
        name: of the space.
        spec: how runs are cut.

    Raises:
        ParameterError: the spec is of another kind.
    """

    def __init__(self, name: str, spec: TokenSpec) -> None:
        if not isinstance(spec, ParcelSpec):
            raise ParameterError(f"tokens of {name}", must_be="of the kind parcel", got=spec.kind)
        self.name, self.dimensions, self.spec = name, DIMENSIONS[name], spec

    @property
    def frames(self) -> int:
        """See `Space`."""
        return self.spec.frames

    def tokens(self, series: Series) -> RunTokens:
        """See `Space`."""
        parcels = Parcels(
            atlas=self.spec.atlas,
            digest="",
            regions=tuple(str(number + 1) for number in range(self.dimensions)),
            z_FR=series.z_TD,
            mean_R=series.mean_D,
            std_R=series.std_D,
            coverage_R=np.full(self.dimensions, np.nan, dtype=np.float32),
        )
        return parcel_tokens(parcels, self.spec, run_id=self.name, tr=series.tr)


class VolumeSpace:
    """Voxels of the template at 2 mm, in cubes.

    Args:
        name: of the space.
        spec: how runs are cut.
        mask: NIfTI; which voxels the space has, above 0.

    Raises:
        BadFileError: the mask is not on the template's grid.
        ParameterError: it has not as many voxels as the space, or the spec is of another kind.
    """

    def __init__(self, name: str, spec: TokenSpec, mask: Path) -> None:
        if not isinstance(spec, VolumeSpec):
            raise ParameterError(f"tokens of {name}", must_be="of the kind tubelet or volume", got=spec.kind)
        self.name, self.dimensions, self.spec = name, DIMENSIONS[name], spec
        self.voxels = TemplateVoxels.read(mask)
        self.order_V = self.voxels.in_run_order
        if self.voxels.count != self.dimensions:
            raise ParameterError(
                f"mask of {name}", must_be=f"of {self.dimensions:,} voxels", got=f"{self.voxels.count:,}"
            )

    @property
    def frames(self) -> int:
        """See `Space`."""
        return self.spec.frames

    def tokens(self, series: Series) -> RunTokens:
        """See `Space`."""
        run = CachedRun(
            run_id=self.name,
            participant_id=self.name,
            series_TV=series.z_TD[:, self.order_V].astype(np.float16),
            mean_V=series.mean_D[self.order_V],
            std_V=series.std_D[self.order_V],
            mask_XYZ=self.voxels.mask_XYZ,
            affine=MNI_AFFINE,
            tr=series.tr,
        )
        return cubes(run, self.spec)
