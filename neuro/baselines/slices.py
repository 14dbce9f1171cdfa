"""FReD's recipe: slices -> frozen picture features -> mean and log-std over time -> logistic regression.

The backbone may be the very instance that answers picture queries: nothing in it is trained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from data.caches.cached_run import CachedRun
from neuro.tokens import SliceSpec, slices, temporal_summary
from vision.backbones import Backbone


def slice_features(run: CachedRun, backbone: Backbone) -> NDArray[np.float32]:
    """One run -> (2 * S * F,): of F features of S slices, temporal mean and log standard deviation."""
    return temporal_summary(slices(run, SliceSpec(frames=1, backbone=backbone.name), backbone))


def slice_logistic() -> Pipeline:
    """The classifier for `slice_features`: standardized, then logistic regression."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=2000, class_weight="balanced"))
