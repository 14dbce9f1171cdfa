"""What each place of a run added to what the model said: values of places, and the way back into the brain.

Letters: S places, P voxels of a place, R regions, X Y Z voxel axes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.parcels.atlases import Atlas
from neuro.explain.image import as_image
from neuro.tokens import RunTokens, untokenize

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Relevance:
    """What one method says of one run, averaged over its clips.

    Attributes:
        method: a name of `neuro.explain.METHODS`.
        values_S: float32; above 0 speaks for the positive class, below 0 against it. The unit is the logit's
            for methods whose values add up to it (votes, integrated gradients) and for occlusion.
        run: what was explained.
        logit: what the model said of it.
        voxels_SP: the same for each voxel of a place, where the method tells them apart.
    """

    method: str
    values_S: Floats
    run: RunTokens
    logit: float
    voxels_SP: Floats | None = field(default=None, repr=False)

    def volume(self) -> Floats:
        """In the run's voxels (X, Y, Z), 0 outside the brain; of regions, one value each (R,).

        The value of a place is painted on all of its voxels, or each voxel has its own.
        """
        return untokenize(self.run, self.values_S if self.voxels_SP is None else self.voxels_SP)

    def image(self, atlas: Atlas | None = None) -> Any:
        """As a NIfTI image, float32, in mm of the run's space.

        Args:
            atlas: whose regions the places are; needed only where it has no name, or is not known to be that
                of the run.

        Raises:
            ParameterError: regions of an atlas that is not known, or not the run's.
        """
        return as_image(self.volume(), self.run, atlas)
