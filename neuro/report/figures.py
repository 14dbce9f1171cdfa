"""Pictures of the report, each as an SVG or PNG data URI: results -> figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuro.picture import CONTROL, MUTED, PATIENT, data_uri, house_style
from neuro.protocol.permutation import PermutationTest
from neuro.protocol.predictions import Predictions
from neuro.protocol.results import ModelResult

# Told apart without colour vision too; as many as a cohort with parcels beside its voxels has contenders.
COLOURS = (
    "#0b6e99",
    "#c8553d",
    "#6a994e",
    "#8a96a3",
    "#7b5ea7",
    "#e0a526",
    "#14213d",
    "#4fb3de",
    "#a23b72",
    "#5f6b2d",
)


def auc_forest(models: Sequence[ModelResult]) -> str:
    """AUC of each model with its 95 % interval, and the line of chance."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(7, 0.5 * len(models) + 0.9))
        axes = figure.subplots()
        for place, model in enumerate(reversed(models)):
            colour, auc = _colour(models, model), model.figures["auc"]
            axes.plot([auc.low, auc.high], [place, place], color=colour, lw=3, alpha=0.6)
            axes.plot(auc.estimate, place, "o", color=colour, ms=8)
        axes.set_yticks(range(len(models)), [o.name for o in reversed(models)])
        axes.axvline(0.5, color=MUTED, ls="--", lw=1)
        axes.text(0.5, len(models) - 0.45, "chance", color=MUTED, ha="center", va="bottom")
        axes.set(
            xlim=(0, 1.02),
            ylim=(-0.6, len(models) - 0.4),
            xlabel="AUC within folds, 95 % interval",
        )
        return data_uri(figure)


def roc_curves(models: Sequence[ModelResult]) -> str:
    """ROC curves of the out-of-fold scores of all deals, ranked within each fold."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    with house_style():
        figure = Figure(figsize=(4.2, 4.0))
        axes = figure.subplots()
        for model in models:
            ranks, labels = _ranked_within_folds(model.within)
            false_positive, true_positive, _ = roc_curve(labels, ranks)
            axes.plot(false_positive, true_positive, color=_colour(models, model), lw=2, label=model.name)
        axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
        return data_uri(figure)


def score_strips(predictions: Predictions) -> str:
    """Every run's out-of-fold score of the first deal, by site and label: who was told apart, and where."""
    from matplotlib.figure import Figure

    sites, scores = predictions.sites, predictions.scores[0]
    with house_style():
        figure = Figure(figsize=(4.6, 4.0))
        axes = figure.subplots()
        jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(sites))
        names = sorted(set(sites))
        for label, colour, shift, word in ((0, CONTROL, -0.18, "controls"), (1, PATIENT, 0.18, "patients")):
            here = predictions.labels == label
            places = np.array([names.index(site) for site in sites])[here] + shift
            axes.scatter(
                places + jitter[here], scores[here], s=26, color=colour, alpha=0.75, lw=0, label=word
            )
        axes.axhline(0, color=MUTED, ls="--", lw=1)
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="out-of-fold score")
        axes.margins(x=0.2, y=0.15)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.12))
        return data_uri(figure)


def permuted_aucs(test: PermutationTest) -> str:
    """AUC of a whole pipeline on permuted labels, and on the labels as they are."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(4.6, 2.6))
        axes = figure.subplots()
        low, high = min(*test.null, test.observed), max(*test.null, test.observed)
        bins = np.histogram_bin_edges(test.null, bins="auto", range=(low - 0.01, high + 0.01))
        axes.hist(test.null, bins=list(bins), color=MUTED, alpha=0.7, label="permuted labels")
        axes.axvline(test.observed, color=PATIENT, lw=2, label="the labels as they are")
        axes.axvline(0.5, color=MUTED, ls="--", lw=1)
        axes.set(xlabel="AUC within folds", ylabel="permutations")
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return data_uri(figure)


def brain_map(image: Any, planted: Any | None) -> str:
    """A map over the MNI template in three planes, with the outline of the planted region if there is one."""
    from matplotlib.figure import Figure
    from nilearn import plotting
    from nilearn.image import coord_transform

    with house_style():
        figure = Figure(figsize=(8.4, 3.0), facecolor="black")
        data = np.abs(image.get_fdata())
        peak = np.unravel_index(int(data.argmax()), data.shape)
        display = plotting.plot_stat_map(
            image,
            figure=figure,
            cut_coords=[float(c) for c in coord_transform(*peak, image.affine)],
            threshold=float(np.percentile(data[data > 0], 90)) if data.any() else 0.0,
            black_bg=True,
            draw_cross=False,
            cmap="RdBu_r",
            colorbar=True,
        )
        if planted is not None:
            display.add_contours(planted, levels=[0.5], colors="#ffd166", linewidths=1.5)
        uri = data_uri(figure, "png")
        return uri


def _ranked_within_folds(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Ranks from 0 to 1 within each fold, and the labels, all deals one after the other."""
    from scipy.stats import rankdata

    ranks, labels = [], []
    for folds, scores in zip(predictions.folds, predictions.scores, strict=True):
        for fold in np.unique(folds[folds >= 0]):
            here = folds == fold
            ranks.append(rankdata(scores[here]) / here.sum())
            labels.append(predictions.labels[here])
    return np.concatenate(ranks), np.concatenate(labels)


def _colour(models: Sequence[ModelResult], model: ModelResult) -> str:
    return COLOURS[list(models).index(model) % len(COLOURS)]
