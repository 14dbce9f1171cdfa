"""The ways of explaining, by name: a fitted classifier and a run -> `Relevance`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.errors import ParameterError, UnknownNameError, nearest
from data.parcels.atlases import Atlas
from neuro.classifier import ParkinsonClassifier
from neuro.explain.attention_gradient import attention_gradient
from neuro.explain.integrated_gradients import STEPS, integrated_gradients
from neuro.explain.occlusion import occluded_places, occluded_regions
from neuro.explain.relevance import Relevance
from neuro.explain.votes import votes
from neuro.model import BrainTransformer, run_logit
from neuro.tokens import CubeTokens, RunTokens

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Options:
    """What methods may be told.

    Attributes:
        steps: points of the way of integrated gradients.
        atlas: whose regions are taken out by occlusion; None takes out places one by one, which is one pass a
            place and clip.
    """

    steps: int = STEPS
    atlas: Atlas | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ParameterError("steps", must_be="positive", got=self.steps)


# (model, run, options) -> values of places (S,), and of their voxels (S, P) where they are told apart
Explain = Callable[[BrainTransformer, RunTokens, Options], tuple[Floats, Floats | None]]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of explaining, and what it is in a few words."""

    explain: Explain
    about: str


def _occlusion(model: BrainTransformer, run: RunTokens, options: Options) -> tuple[Floats, Floats | None]:
    if options.atlas is None or not isinstance(run, CubeTokens):
        return occluded_places(model, run), None
    _, voxels_SP = occluded_regions(model, run, options.atlas)
    inside_S = run.inside_SP.sum(1).clip(min=1)
    return (voxels_SP.sum(1) / inside_S).astype(np.float32), voxels_SP


# The default first; see benchmarks/brain_relevance.py.
METHODS: dict[str, Method] = {
    "integrated-gradients": Method(
        explain=lambda model, run, options: (integrated_gradients(model, run, steps=options.steps), None),
        about="shares of the logit, from a neutral brain to this one (Sundararajan et al. 2017)",
    ),
    "votes": Method(
        explain=lambda model, run, options: (votes(model, run), None),
        about="what the readout adds up, place by place",
    ),
    "attention-gradient": Method(
        explain=lambda model, run, options: (attention_gradient(model, run), None),
        about="votes rolled back through attention, by its gradient (Chefer et al. 2021)",
    ),
    "occlusion": Method(
        explain=_occlusion,
        about="what the logit loses without a place or region (Zeiler & Fergus 2014)",
    ),
}
DEFAULT = next(iter(METHODS))


def relevance(
    classifier: ParkinsonClassifier, run: RunTokens, method: str = DEFAULT, options: Options | None = None
) -> Relevance:
    """What in a run spoke for the positive class, and what against it, averaged over its clips.

    Args:
        classifier: fitted.
        run: cut as the runs that it was fitted to.
        method: a name of `METHODS`.
        options: of the method.

    Raises:
        UnknownNameError: no such method.
        ParameterError: the run is cut otherwise, or the model cannot be explained by this method.
    """
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise UnknownNameError("method", must_be=f"one of {known}", got=method, do=nearest(method, METHODS))
    (run,) = classifier.tokens([run])
    values_S, voxels_SP = METHODS[method].explain(classifier.model_, run, options or Options())
    return Relevance(
        method=method,
        values_S=values_S,
        run=run,
        logit=run_logit(classifier.model_, run),
        voxels_SP=voxels_SP,
    )
