"""Pictures of the report, each as an SVG or PNG data URI: results -> figure."""

from __future__ import annotations

from typing import Any

import numpy as np

from neuro.evaluate import Evaluation, Outcome
from neuro.picture import CONTROL, MUTED, PATIENT, data_uri, house_style

# Told apart without colour vision too; as many as a cohort with parcels beside its voxels has contenders.
COLOURS = ("#0b6e99", "#c8553d", "#6a994e", "#8a96a3", "#7b5ea7", "#e0a526", "#14213d", "#4fb3de")


def auc_forest(evaluation: Evaluation) -> str:
    """AUC of each contender with its 95 % interval, and the line of chance."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(7, 0.5 * len(evaluation.outcomes) + 0.9))
        axes = figure.subplots()
        for place, outcome in enumerate(reversed(evaluation.outcomes)):
            colour = _colour(evaluation, outcome)
            axes.plot([outcome.auc.low, outcome.auc.high], [place, place], color=colour, lw=3, alpha=0.6)
            axes.plot(outcome.auc.estimate, place, "o", color=colour, ms=8)
        axes.set_yticks(range(len(evaluation.outcomes)), [o.name for o in reversed(evaluation.outcomes)])
        axes.axvline(0.5, color=MUTED, ls="--", lw=1)
        axes.text(0.5, len(evaluation.outcomes) - 0.45, "chance", color=MUTED, ha="center", va="bottom")
        axes.set(
            xlim=(0, 1.02),
            ylim=(-0.6, len(evaluation.outcomes) - 0.4),
            xlabel="AUC within folds, 95 % interval",
        )
        return data_uri(figure)


def roc_curves(evaluation: Evaluation) -> str:
    """ROC curves of the out-of-fold scores, each fold's scores ranked within the fold."""
    from matplotlib.figure import Figure
    from sklearn.metrics import roc_curve

    with house_style():
        figure = Figure(figsize=(4.2, 4.0))
        axes = figure.subplots()
        for outcome in evaluation.outcomes:
            ranks = _ranked_within_folds(outcome.scores, evaluation.fold_of)
            false_positive, true_positive, _ = roc_curve(evaluation.labels, ranks)
            axes.plot(
                false_positive, true_positive, color=_colour(evaluation, outcome), lw=2, label=outcome.name
            )
        axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1)
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal", xlim=(0, 1), ylim=(0, 1.01))
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        return data_uri(figure)


def score_strips(evaluation: Evaluation, outcome: Outcome, sites: np.ndarray) -> str:
    """Every run's out-of-fold score by site and label: who was told apart, and where."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(4.6, 4.0))
        axes = figure.subplots()
        jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(sites))
        names = sorted(set(sites))
        for label, colour, shift, word in ((0, CONTROL, -0.18, "controls"), (1, PATIENT, 0.18, "patients")):
            here = evaluation.labels == label
            places = np.array([names.index(site) for site in sites])[here] + shift
            axes.scatter(
                places + jitter[here], outcome.scores[here], s=26, color=colour, alpha=0.75, lw=0, label=word
            )
        axes.axhline(0, color=MUTED, ls="--", lw=1)
        axes.set_xticks(range(len(names)), names)
        axes.set(ylabel="out-of-fold logit")
        axes.margins(x=0.2, y=0.15)
        axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.12))
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


def _ranked_within_folds(scores: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    ranks = np.zeros(len(scores))
    for fold in np.unique(fold_of):
        here = fold_of == fold
        ranks[here] = rankdata(scores[here]) / here.sum()
    return ranks


def _colour(evaluation: Evaluation, outcome: Outcome) -> str:
    return COLOURS[evaluation.outcomes.index(outcome) % len(COLOURS)]
