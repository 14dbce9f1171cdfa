"""Rows of features from several sites, with effects of site, age and label that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from neuro.sites.harmonize import with_sites

FEATURES = 40
AGE_SEX = ("age", "sex")


def simulated(
    n: int = 120,
    *,
    seed: int = 0,
    sites: str = "AB",
    sick_share: dict[str, float] | None = None,
    covariates: tuple[str, ...] = (),
) -> tuple[pd.DataFrame, np.ndarray]:
    """Sites with shifts and scales of their own, age at work in all features, the label in the first five."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(99)  # one world for every seed
    shift, scale = truth.normal(0, 1.5, (26, FEATURES)), truth.uniform(0.5, 2.0, (26, FEATURES))
    slope = truth.normal(0, 0.05, FEATURES)
    site = np.array(list(sites))[np.arange(n) % len(sites)]
    share = np.array([(sick_share or {}).get(s, 0.5) for s in site])
    label = (rng.random(n) < share).astype(int)
    age = rng.normal(62, 8, n)
    code = np.array([ord(s) - ord("A") for s in site])
    features = rng.standard_normal((n, FEATURES)) * scale[code] + shift[code] + np.outer(age - 62, slope)
    features[:, :5] += 1.5 * label[:, None]
    table = pd.DataFrame({"site": site, "age": age, "sex": rng.choice(["F", "M"], n)})
    return with_sites(features, table, covariates), label


def features_of(X: pd.DataFrame) -> np.ndarray:
    return X.drop(columns=["site", "age", "sex"], errors="ignore").to_numpy(float)
