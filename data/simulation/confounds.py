"""A simulated run's confounds under fMRIPrep's column names: (V, T) and motion (T, 6) -> (T, columns).

Letters: V in-brain voxels, T frames.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.cleaning.head_motion import MOTION, framewise_displacement
from data.simulation.signal import Brain, Floats

SPIKE_FD_MM = 0.5
COSINE_CUTOFF_S = 128.0
COMPONENTS = 5


def confounds_table(
    brain: Brain, signal_VT: Floats, motion_T6: Floats, tr: float
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Columns of fMRIPrep's `desc-confounds_timeseries.tsv` and its JSON, computed from the run itself."""
    table = pd.DataFrame(
        {
            "csf": signal_VT[brain.fluid_V].mean(0),
            "white_matter": signal_VT[brain.white_V].mean(0),
            "global_signal": signal_VT.mean(0),
        }
    ).join(pd.DataFrame(motion_T6, columns=list(MOTION)))
    table = _expand(table)
    displacement_T = framewise_displacement(motion_T6)
    table["framewise_displacement"] = displacement_T
    table["std_dvars"], table["dvars"] = _dvars(signal_VT)
    components, metadata = _anatomical_components(brain, signal_VT)
    cosines = _cosines(len(table), tr)
    spikes = np.flatnonzero(np.nan_to_num(displacement_T) > SPIKE_FD_MM)
    outliers = pd.DataFrame(
        {
            f"motion_outlier{i:02d}": (np.arange(len(table)) == frame).astype(float)
            for i, frame in enumerate(spikes)
        }
    )
    return pd.concat([table, components, cosines, outliers], axis=1), metadata


def _expand(table: pd.DataFrame) -> pd.DataFrame:
    """Each column with its temporal derivative and their squares (Satterthwaite et al. 2013)."""
    columns: dict[str, pd.Series] = {}
    for name, series in table.items():
        step = series.diff()
        columns |= {
            f"{name}": series,
            f"{name}_derivative1": step,
            f"{name}_power2": series**2,
            f"{name}_derivative1_power2": step**2,
        }
    return pd.DataFrame(columns)


def _dvars(signal_VT: Floats) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    steps_T = np.sqrt(np.mean(np.diff(signal_VT, axis=1) ** 2, axis=0, dtype=np.float64))
    dvars_T = np.concatenate([[np.nan], steps_T])
    return dvars_T / np.nanmedian(dvars_T), dvars_T


def _cosines(n_frames: int, tr: float) -> pd.DataFrame:
    """fMRIPrep's discrete-cosine high-pass set with a 128 s cut-off."""
    order = int(np.floor(2 * n_frames * tr / COSINE_CUTOFF_S))
    frames = np.arange(n_frames)
    return pd.DataFrame(
        {
            f"cosine{k - 1:02d}": np.sqrt(2 / n_frames) * np.cos(np.pi / n_frames * (frames + 0.5) * k)
            for k in range(1, order + 1)
        }
    )


def _anatomical_components(brain: Brain, signal_VT: Floats) -> tuple[pd.DataFrame, dict[str, object]]:
    """Leading temporal components of white matter and fluid (aCompCor, Behzadi et al. 2007)."""
    noise_VT = signal_VT[brain.white_V | brain.fluid_V].astype(np.float64)
    noise_VT -= noise_VT.mean(1, keepdims=True)
    variances, vectors = np.linalg.eigh(noise_VT.T @ noise_VT)
    order = np.argsort(variances)[::-1][:COMPONENTS]
    names = [f"a_comp_cor_{i:02d}" for i in range(COMPONENTS)]
    shares = variances[order] / variances.sum()
    metadata: dict[str, object] = {
        name: {
            "Method": "aCompCor",
            "Mask": "combined",
            "Retained": True,
            "VarianceExplained": float(share),
            "CumulativeVarianceExplained": float(total),
            "SingularValue": float(np.sqrt(value)),
        }
        for name, share, total, value in zip(names, shares, np.cumsum(shares), variances[order], strict=True)
    }
    return pd.DataFrame(vectors[:, order], columns=names), metadata
