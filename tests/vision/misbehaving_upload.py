"""The preprocessing that crashes and hangs, for a model that is asked about good pictures too."""

from __future__ import annotations

import torch
from misbehaving import Misbehaving  # type: ignore[import-not-found]


class MisbehavingUpload(Misbehaving):  # type: ignore[misc]
    def normalise(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        return pixels_BCHW.float()
