"""Motion tables of XCP-D beside runs that it censored: rows of all frames -> rows of the frames left.

In some modes XCP-D takes high-motion frames out of the denoised run, and not out of `…_motion.tsv`;
`…_outliers.tsv` has a 1 for each of them.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

MOTION, OUTLIERS = "_motion.tsv", "_outliers.tsv"


def without_censored(table: pd.DataFrame, path: Path, n_frames: int) -> pd.DataFrame:
    """The rows of the run's own frames, where `path` is such a table; any other table as it is."""
    if len(table) == n_frames or not path.name.endswith(MOTION):
        return table
    beside = path.with_name(path.name.replace("_desc-filtered", "").removesuffix(MOTION) + OUTLIERS)
    try:
        outliers = pd.read_csv(beside, sep="\t").iloc[:, 0]
    except (OSError, ValueError):
        return table
    kept = (outliers == 0).to_numpy()
    if len(kept) != len(table) or kept.sum() != n_frames:
        return table
    return table[kept].reset_index(drop=True)
