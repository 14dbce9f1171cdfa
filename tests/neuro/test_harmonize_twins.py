"""ComBat against neuroCombat, and against a slow second way that knows new rows too."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from neuro.sites.harmonize import Combat

from .simulated_sites import AGE_SEX, features_of, simulated


@pytest.mark.parametrize("empirical_bayes", [True, False])
@pytest.mark.parametrize("covariates", [(), ("age", "sex")])
@pytest.mark.parametrize("sites", ["AB", "ABCD"])
def test_training_rows_come_out_as_from_neurocombat(
    sites: str, covariates: tuple[str, ...], empirical_bayes: bool
) -> None:
    twin = pytest.importorskip("neuroCombat").neuroCombat
    X, _ = simulated(61, seed=5, sites=sites, covariates=covariates)
    combat = Combat(covariates=covariates, empirical_bayes=empirical_bayes, use_labels=False).fit(X)
    with contextlib.redirect_stdout(io.StringIO()):
        found = twin(
            features_of(X).T,
            X[["site", *covariates]],
            "site",
            categorical_cols=["sex"] if covariates else None,
            continuous_cols=["age"] if covariates else None,
            eb=empirical_bayes,
        )
    # It takes ages as float32 and stops iterating at a change of 1e-4.
    np.testing.assert_allclose(combat.transform(X), found["data"].T, atol=2e-3)
    estimates = found["estimates"]
    np.testing.assert_allclose(combat.scale_, np.sqrt(estimates["var.pooled"][:, 0]), rtol=1e-4)
    for number, site in enumerate(sorted(set(sites))):
        effect = combat.effects_[site]
        np.testing.assert_allclose(effect.location_F, estimates["gamma.star"][number], atol=2e-3)
        np.testing.assert_allclose(effect.variance_F, estimates["delta.star"][number], rtol=2e-3)


def test_labels_enter_the_fit_as_neurocombats_covariate_does() -> None:
    twin = pytest.importorskip("neuroCombat").neuroCombat
    X, y = simulated(80, seed=6, sick_share={"A": 0.7, "B": 0.3})
    combat = Combat().fit(X, y)
    with contextlib.redirect_stdout(io.StringIO()):
        found = twin(features_of(X).T, X[["site"]].assign(dx=y), "site", categorical_cols=["dx"])
    for number, site in enumerate("AB"):
        np.testing.assert_allclose(
            combat.effects_[site].location_F, found["estimates"]["gamma.star"][number], atol=2e-3
        )


def slow_combat(train: pd.DataFrame, y: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    """Without empirical Bayes: a regression, means and standard deviations, feature by feature."""
    x, new = features_of(train), features_of(test)
    sites = sorted(set(train["site"]))

    def covariates(X: pd.DataFrame) -> np.ndarray:
        return np.column_stack([X["age"], X["sex"] == "M"]).astype(float)

    design = np.column_stack([*[train["site"] == site for site in sites], covariates(train), y])
    out = np.zeros_like(new)
    for f in range(x.shape[1]):
        beta = LinearRegression(fit_intercept=False).fit(design, x[:, f]).coef_[len(sites) :]
        rest = x[:, f] - covariates(train) @ beta[:2] - y * beta[2]
        groups = {site: rest[(train["site"] == site).to_numpy()] for site in sites}
        pooled = np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups.values()) / len(x))
        # Sites are measured where they stand for the average label of training, which is no row's own.
        expected = covariates(test) @ beta[:2] + y.mean() * beta[2]
        for i, site in enumerate(test["site"]):
            z = (new[i, f] - expected[i] - groups[site].mean()) / groups[site].std(ddof=1)
            out[i, f] = z * pooled + rest.mean() + expected[i]
    return out


def test_new_rows_come_out_as_from_a_slow_second_way() -> None:
    share = {"A": 0.7, "B": 0.3}
    train, y = simulated(50, seed=3, sites="ABC", covariates=AGE_SEX, sick_share=share)
    test, _ = simulated(30, seed=4, sites="ABC", covariates=AGE_SEX)
    found = Combat(covariates=AGE_SEX, empirical_bayes=False).fit(train, y).transform(test)
    np.testing.assert_allclose(found, slow_combat(train, y, test), atol=1e-9)
