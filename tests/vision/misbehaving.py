"""A preprocessing that crashes or hangs over certain pictures: imported by the processes that decode."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import numpy.typing as npt

CRASHES, HANGS, SLEEPS, FAILS = 13, 17, 19, 23  # widths of pictures


class Misbehaving:
    resized_side = 8

    def pixels(self, picture_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        width = picture_HWC.shape[1]
        if width == CRASHES:
            os.kill(os.getpid(), signal.SIGSEGV)
        while width == HANGS:
            pass
        if width == SLEEPS:
            time.sleep(1e6)
        if width == FAILS:
            raise RuntimeError("a bug")
        return picture_HWC[:8, :8].transpose(2, 0, 1)
