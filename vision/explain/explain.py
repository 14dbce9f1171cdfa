"""From a model, a picture and a direction in their space to a map of what in the picture speaks for it.

Shape suffixes: H W pixels, C channels, E joint space, R rows, C columns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from data.errors import ParameterError, UnknownNameError
from vision.backbones import Backbone
from vision.explain.explanation import Explanation
from vision.explain.methods import METHODS, methods_for


def explain(
    backbone: Backbone,
    picture_HWC: npt.NDArray[np.uint8],
    target_E: npt.NDArray[np.floating],
    *,
    method: str | None = None,
) -> Explanation:
    """Upright RGB picture (H, W, 3), target (E,) -> what in the picture raises its cosine with the target.

    The model sees the pixels that it sees in indexing. Its weights get no gradients, and other threads may
    use it meanwhile.

    Args:
        backbone: any model with tokens or maps before its pooling.
        picture_HWC: 8-bit, as `data.photos` decodes it.
        target_E: a vector of the model's space, usually a text's; only its direction counts.
        method: one of `methods_for(backbone)`; the first by default.

    Raises:
        UnknownNameError: no such method, or not for this model.
        ParameterError: a picture or a target of another form, or a model that cannot be explained.
    """
    chosen = METHODS[_method_name(backbone, method)]
    picture_HWC = _checked_picture(picture_HWC)
    direction_E = _unit_target(target_E, backbone.output_dim)
    with torch.inference_mode(False), torch.enable_grad():
        target = torch.from_numpy(direction_E).to(backbone.device)
        pixels_CHW = torch.from_numpy(backbone.preprocess.pixels(picture_HWC)).to(backbone.device)
        heat_RC, vector_E = chosen.heat(backbone, backbone.preprocess.normalise(pixels_CHW)[None], target)
        score = float(vector_E.detach() @ target)
    return Explanation(
        map_RC=_scaled(heat_RC.detach().float().cpu().numpy()),
        box=backbone.preprocess.seen_box(*picture_HWC.shape[:2]),
        score=score,
        method=_method_name(backbone, method),
    )


def _method_name(backbone: Backbone, method: str | None) -> str:
    names = methods_for(backbone)
    if not names:
        found = f"{backbone.name}, whose features have no known places"
        raise ParameterError("model", must_be="a Vision Transformer or a convolutional one", got=found)
    if method is not None and method not in names:
        raise UnknownNameError(
            "method", must_be=f"one that {backbone.name} has, of {', '.join(names)}", got=repr(method)
        )
    return method or names[0]


def _checked_picture(picture_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The same in memory that torch takes: in order, and writable."""
    if picture_HWC.dtype != np.uint8 or picture_HWC.ndim != 3 or picture_HWC.shape[2] != 3:
        found = f"{picture_HWC.dtype} of shape {picture_HWC.shape}"
        raise ParameterError("picture", must_be="8-bit RGB of shape (H, W, 3)", got=found)
    if not picture_HWC.size:
        raise ParameterError("picture", must_be="of at least one pixel", got=f"shape {picture_HWC.shape}")
    return np.require(picture_HWC, requirements=("C", "W"))


def _unit_target(target_E: npt.NDArray[np.floating], width: int) -> npt.NDArray[np.float32]:
    target_E = np.asarray(target_E, dtype=np.float64)
    if target_E.shape != (width,) or not np.isfinite(target_E).all() or not target_E.any():
        raise ParameterError(
            "target", must_be=f"{width} finite numbers, not all 0", got=f"shape {target_E.shape}"
        )
    return (target_E / np.linalg.norm(target_E)).astype(np.float32)


def _scaled(heat_RC: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The same with a maximum of 1; all 0 where nothing is above 0."""
    most = heat_RC.max()
    return heat_RC / most if most > 0 else np.zeros_like(heat_RC)
