"""Pictures of a cohort's quality: by site and group, and one run's carpet and mosaic. Each is a data URI.

Letters: T frames kept, V in-mask voxels, X Y Z voxels, R rows of a carpet.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.caches.cached_run import CachedRun
from data.quality.group_differences import GroupTest
from data.quality.limits import LIMITS
from neuro.picture import CONTROL, INK, MUTED, PATIENT, data_uri, house_style, themed_uri

GROUPS = ((0, CONTROL, "o", "controls"), (1, PATIENT, "D", "patients"))
PANELS = (
    ("fd_mean", "mean displacement (mm)"),
    ("tsnr", "temporal SNR"),
    ("dvars", "mean DVARS"),
)
FRAME_MARKS = {"fd": 0.5, "dvars": 1.5}  # beyond these fMRIPrep marks a single frame
CARPET_ROWS, CARPET_RANGE = 400, 2.0
MOSAIC_STEP_MM, AXIAL, SAGITTAL = 2.0, (-40, -24, -12, 0, 16, 36, 56), (-40, -26, -12, 0, 12, 26, 40)


def group_strips(table: pd.DataFrame) -> str:
    """Motion, temporal SNR and DVARS of every run by site and group, with the limit from which to look."""
    from matplotlib.figure import Figure

    sites = sorted(table["site"].unique())
    looks = {limit.measure: limit.look for limit in LIMITS}
    places = table["site"].map({site: i for i, site in enumerate(sites)}).to_numpy(float)
    jitter = np.random.default_rng(0).uniform(-0.12, 0.12, len(table))
    with house_style():
        figure = Figure(figsize=(3.3 * len(PANELS), 3.3), layout="constrained")
        for axes, (measure, words) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
            for label, colour, marker, group in GROUPS:
                here = (table["label"] == label).to_numpy()
                across = places[here] + jitter[here] + (0.2 if label else -0.2)
                axes.scatter(
                    across,
                    table[measure][here],
                    s=22,
                    color=colour,
                    marker=marker,
                    alpha=0.7,
                    lw=0,
                    label=group,
                )
            _line(axes, looks[measure], table[measure])
            axes.set_xticks(range(len(sites)), sites, rotation=0 if len(sites) < 5 else 60)
            axes.set(title=words, xlim=(-0.6, len(sites) - 0.4))
            axes.title.set_fontsize(10)
            axes.margins(y=0.12)
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, frameon=False, ncols=2, loc="outside upper center")
        return themed_uri(figure)


def _line(axes: Any, limit: float | None, values: pd.Series) -> None:
    """The limit, where it is near enough to the values not to flatten them."""
    known = values.dropna()
    if limit is None or known.empty:
        return
    span = max(known.max() - known.min(), 0.05 * abs(known.max()))
    if known.min() - span < limit < known.max() + span:
        axes.axhline(limit, color=MUTED, ls="--", lw=1)


def motion_forest(test: GroupTest) -> str:
    """The probability that a patient moved more than a control, by site and over all, with intervals."""
    from matplotlib.figure import Figure

    rows = [(site.site, site.auc, site.low, site.high, MUTED) for site in test.sites]
    rows.append(("all sites", test.auc, test.low, test.high, PATIENT))
    with house_style():
        figure = Figure(figsize=(6.4, 0.42 * len(rows) + 1.0))
        axes = figure.subplots()
        for place, (_, auc, low, high, colour) in enumerate(reversed(rows)):
            axes.plot([low, high], [place, place], color=colour, lw=3, alpha=0.6)
            axes.plot(auc, place, "o", color=colour, ms=8)
        axes.set_yticks(range(len(rows)), [row[0] for row in reversed(rows)])
        axes.axvline(0.5, color=MUTED, ls="--", lw=1)
        axes.text(0.5, len(rows) - 0.45, "no difference", color=INK, ha="center", va="bottom", fontsize=9)
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.6, len(rows) - 0.4),
            xlabel="controls moved more  ←  AUC of mean displacement, 95 % interval  →  patients moved more",
        )
        axes.xaxis.label.set_fontsize(9)
        return themed_uri(figure)


def carpet(run: CachedRun, trace: pd.DataFrame | None) -> str:
    """Displacement and DVARS of the raw frames over the cleaned voxels (Power 2017).

    One row a voxel, evenly taken from the mask, each in its own standard deviations (grey from -2 to 2) and
    ordered by its correlation with their mean, as whatever moves the whole brain is then seen at the top
    (Aquino et al. 2020, doi 10.1016/j.neuroimage.2020.116614). Frames that cleaning dropped are marked.
    """
    from matplotlib.figure import Figure

    rows_RT = carpet_rows(run.series_TV)
    edges_T, image_RT = _on_time(rows_RT, trace, run.tr)
    with house_style():
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1, 4])
        if trace is None:
            for axis in axes[:2]:
                axis.text(0.5, 0.5, "not measured", transform=axis.transAxes, ha="center", va="center")
        else:
            _traces(axes, trace, run.tr)
        axes[0].set_ylabel("FD (mm)", fontsize=8)
        axes[1].set_ylabel("DVARS", fontsize=8)
        axes[2].imshow(
            image_RT,
            aspect="auto",
            cmap="gray",
            vmin=-CARPET_RANGE,
            vmax=CARPET_RANGE,
            extent=(edges_T[0], edges_T[-1], 0, len(rows_RT)),
            interpolation="none",
        )
        axes[2].set_facecolor("#f3d9a4")  # frames that were dropped have no voxels to show
        axes[2].set(xlabel="seconds", ylabel="voxels", yticks=[], xlim=(edges_T[0], edges_T[-1]))
        return data_uri(figure, "png")


def _traces(axes: Any, trace: pd.DataFrame, tr: float) -> None:
    for axis, (name, mark) in zip(axes, FRAME_MARKS.items(), strict=False):
        axis.plot(trace["time"], trace[name], color=INK, lw=0.9)
        axis.axhline(mark, color=MUTED, ls="--", lw=0.8)
        for start in trace["time"][~trace["kept"]]:
            axis.axvspan(start - tr / 2, start + tr / 2, color="#f3d9a4", lw=0)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=8)


def carpet_rows(series_TV: NDArray[Any], rows: int = CARPET_ROWS) -> NDArray[np.float32]:
    """(T, V) -> (R, T): evenly taken voxels that change, standardized, by correlation with their mean."""
    step = max(1, -(-series_TV.shape[1] // rows))
    rows_RT = np.asarray(series_TV[:, ::step], dtype=np.float32).T
    rows_RT = rows_RT[rows_RT.std(axis=1) > 0]
    if not len(rows_RT):
        return np.zeros((1, series_TV.shape[0]), np.float32)
    rows_RT = (rows_RT - rows_RT.mean(axis=1, keepdims=True)) / rows_RT.std(axis=1, keepdims=True)
    order = np.argsort(-(rows_RT @ rows_RT.mean(axis=0)), kind="stable")
    return np.asarray(rows_RT[order])


def _on_time(
    rows_RT: NDArray[np.float32], trace: pd.DataFrame | None, tr: float
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """First and last edge of the carpet's frames in seconds; the carpet with gaps where some were dropped."""
    n_frames = rows_RT.shape[1]
    if trace is not None and int(trace["kept"].sum()) == n_frames:
        image_RT = np.full((len(rows_RT), len(trace)), np.nan, np.float32)
        image_RT[:, trace["kept"].to_numpy()] = rows_RT
        step = float(trace["time"].iloc[1] - trace["time"].iloc[0]) if len(trace) > 1 else tr
        return np.array([-step / 2, (len(trace) - 0.5) * step]), image_RT
    return np.array(
        [-tr / 2, (n_frames - 0.5) * tr]
    ), rows_RT  # resampled in time: frames have their own grid


def mosaic(run: CachedRun, outline: Any | None = None) -> str:
    """The mean image in axial and sagittal slices, with the outlines of the mask and of the template.

    In a cache in percent every mean is 100: the ratio of mean to deviation is shown instead.

    Args:
        run: of a cache; outside its mask nothing is known, and black.
        outline: NIfTI image of the template's brain, in MNI spaces.
    """
    from matplotlib.figure import Figure

    affine = run.affine if outline is not None else _centred(run)
    volume_XYZ = np.zeros(run.mask_XYZ.shape, np.float32)
    volume_XYZ[run.mask_XYZ] = _picture(run)
    bright = float(np.percentile(volume_XYZ[run.mask_XYZ], 98)) or 1.0
    with house_style():
        figure = Figure(figsize=(8.4, 3.1), facecolor="black", layout="constrained")
        for row, (axis, cuts) in enumerate(((2, AXIAL), (0, SAGITTAL))):
            for column, cut in enumerate(cuts):
                axes = figure.add_subplot(2, len(cuts), row * len(cuts) + column + 1)
                slice_2D, extent = _slice(volume_XYZ, affine, axis, cut)
                axes.imshow(slice_2D.T, origin="lower", cmap="gray", vmin=0, vmax=bright, extent=extent)
                _contour(axes, run.mask_XYZ, affine, axis, cut, "#4fb3de")
                if outline is not None:
                    template = np.asarray(outline.dataobj) > 0
                    _contour(axes, template, outline.affine, axis, cut, "#ffd166")
                name = "z" if axis == 2 else "x"
                axes.set_title(f"{name} = {cut}", color="white", fontsize=7, pad=1)
                axes.set_axis_off()
        return data_uri(figure, "png")


def _picture(run: CachedRun) -> NDArray[np.float32]:
    """Mean of each voxel (V,); where all means are one, as in percent, its ratio to the deviation."""
    mean_V = np.nan_to_num(np.asarray(run.mean_V, dtype=np.float32))
    inside_V = mean_V[mean_V != 0]
    if inside_V.size and np.ptp(inside_V) > 1e-3 * np.abs(inside_V).max():
        return mean_V
    std_V = np.asarray(run.std_V, dtype=np.float32)
    return np.divide(mean_V, std_V, out=np.zeros_like(mean_V), where=std_V > 0)


def _centred(run: CachedRun) -> NDArray[np.float64]:
    """The affine of a run in no common space, moved so that its mask lies where MNI's brain does."""
    middle_3 = run.affine[:3, :3] @ np.argwhere(run.mask_XYZ).mean(axis=0) + run.affine[:3, 3]
    moved = run.affine.copy()
    moved[:3, 3] -= middle_3 - np.array([0.0, -18.0, 8.0])
    return moved


def _contour(axes: Any, mask_XYZ: NDArray[np.bool_], affine: Any, axis: int, cut: float, colour: str) -> None:
    slice_2D, extent = _slice(mask_XYZ.astype(np.float32), affine, axis, cut)
    if slice_2D.min() < 0.5 < slice_2D.max():
        axes.contour(slice_2D.T, levels=[0.5], colors=colour, linewidths=0.6, origin="lower", extent=extent)


def _slice(
    volume_XYZ: NDArray[np.float32], affine: Any, axis: int, cut: float
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """A slice in mm through any grid: left is left; front is up in axial, to the right in sagittal slices."""
    from scipy.ndimage import map_coordinates

    reach = ((-80, 80), (-112, 80), (-72, 88))
    spans = [np.arange(a, b + 1, MOSAIC_STEP_MM) for a, b in reach]
    spans[axis] = np.array([float(cut)])
    points_3N = np.stack([grid.ravel() for grid in np.meshgrid(*spans, indexing="ij")])
    inverse = np.linalg.inv(affine)
    ijk_3N = inverse[:3, :3] @ points_3N + inverse[:3, 3:]
    shape = [len(span) for i, span in enumerate(spans) if i != axis]
    ends = [(span[0], span[-1]) for i, span in enumerate(spans) if i != axis]
    values = map_coordinates(volume_XYZ, ijk_3N, order=1, output=np.float32).reshape(shape)
    (left, right), (bottom, top) = ends
    return values, (float(left), float(right), float(bottom), float(top))
