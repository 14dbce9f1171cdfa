"""ComBat as a scikit-learn transformer: fitted on training rows, applied to others, unseen sites included.

Features of several sites differ by scanner before they differ by disease. ComBat (Johnson et al. 2007; Fortin
et al. 2018 for imaging) estimates a shift and a scale of each feature at each site, and takes them out.

Two libraries offer it, and neither can be used here. neuroHarmonize 2.5.2 demands numpy below 2 and pandas
below 3, brings statsmodels along, and gives NaN for an unseen site. neuroCombat 0.2.12 learns well, but its
way of applying what it learned fails under current NumPy and knows neither covariates of new rows nor new
sites, and one site with one row turns every value into NaN. So this is the published arithmetic
(`neuro.sites.effects`), and tests hold it to neuroCombat's figures.

Letters: N rows, F features, S sites, C design columns of covariates and labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin, clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from data.errors import ParameterError
from data.splits.split_columns import complete
from neuro.sites.covariates import Covariate, label_columns, learn_covariate
from neuro.sites.effects import SiteEffect, no_effect, site_effect

SITE = "site"
UNSEEN = ("pooled", "adapt", "refuse")
Matrix = NDArray[np.float64]


class Combat(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features with a column of sites (N, F + 1 + covariates) -> harmonized features (N, F).

    X is a DataFrame that `with_sites` makes: sites travel with the rows, so that pipelines, `cross_val_score`
    and searches need no more than X and y. The columns of site and covariates are taken out; whatever is left
    is a feature, numbers without gaps.

    Nothing of `transform` depends on labels, and, but for `unseen="adapt"`, nothing on the other rows of the
    call. Labels given to `fit` (those of training rows) enter the model only so that a site with many
    patients is not mistaken for a shifted scanner. They are never *preserved* covariates of the usual kind:
    to preserve a diagnosis in a test subject one has to know it, and in training rows alone it would
    exaggerate the difference of the groups (Nygaard et al. 2016, Biostatistics 17:29). Age and sex are known
    of test subjects as well.

    An unseen site: what one can say without its data is that it has the sites' average effect, which is none.
    So by default ("pooled") its rows leave as they came. "adapt" estimates its effect from the unlabelled
    rows of that site in the call, if there are `min_rows` of them: transductive, so results depend on which
    rows are transformed together, and wrong where its share of patients is not that of training. "refuse"
    raises.

    A site with fewer than `min_rows` training rows is left out of the fit and treated as unseen. Where one
    site remains, there is nothing to harmonize, and its rows leave as they came. A feature that is constant
    in training leaves as it came. Several rows of a person count as rows (see Beer et al. 2020, NeuroImage
    220:117129, for repeated measures).

    Args:
        site: column of X with the site; None where X, any array, is all of one site.
        covariates: columns of X whose effects are preserved, numbers or names. Missing values count as the
            training average. One that sites or labels already tell is left out of `covariates_`.
        use_labels: let `fit` account for y.
        empirical_bayes: draw each feature's estimates towards those of all features, as is usual.
        unseen: "pooled", "adapt" or "refuse".
        min_rows: fewest rows of a site by which its effect is estimated, at least 2.

    Attributes:
        effects_: of each known site, its `SiteEffect`.
        small_sites_: those with too few rows.
        covariates_: those used, as coded.
        mean_, scale_: grand mean and pooled standard deviation of the residual (F,); scale 1 for a constant.
        coef_: effects of covariates (C, F).
        varying_: mask of the features that are not constant (F,).
        n_features_in_: F, without site and covariates.
    """

    def __init__(
        self,
        site: str | None = SITE,
        covariates: Sequence[str] = (),
        *,
        use_labels: bool = True,
        empirical_bayes: bool = True,
        unseen: Literal["pooled", "adapt", "refuse"] = "pooled",
        min_rows: int = 3,
    ):
        self.site = site
        self.covariates = covariates
        self.use_labels = use_labels
        self.empirical_bayes = empirical_bayes
        self.unseen = unseen
        self.min_rows = min_rows

    def fit(self, X: Any, y: ArrayLike | None = None) -> Combat:
        """Learn the effects of sites from training rows.

        Raises:
            ParameterError: a column is missing, a row has no site, a value is not finite, no site has enough
                rows, there are too few rows for the covariates, or sites and labels cannot be told apart.
        """
        self._check_parameters()
        features_NF, site_N, covariates = self._take_apart(X, reset=True)
        counts = Counter(site_N)
        known = sorted((site for site, count in counts.items() if count >= self.min_rows), key=str)
        self.small_sites_ = sorted(set(counts) - set(known), key=str)
        if not known:
            raise ParameterError(
                "sites", must_be=f"at least one of {self.min_rows} rows", got=f"none among {len(counts)}"
            )
        used_N = np.array([site in known for site in site_N])
        sites_NS = np.array([[float(site == name) for name in known] for site in site_N[used_N]])
        no_columns = np.empty((len(sites_NS), 0))
        labels_NL = label_columns(np.asarray(y)[used_N]) if self.use_labels and y is not None else no_columns
        covariates_NC = self._choose_covariates(covariates[used_N], np.hstack([sites_NS, labels_NL]))
        self._learn(features_NF[used_N], sites_NS, np.hstack([covariates_NC, labels_NL]), known)
        return self

    def transform(self, X: Any) -> NDArray[np.floating[Any]]:
        """Take the sites' effects out of rows, of training or not; the dtype of the features is kept.

        Raises:
            ParameterError: as `fit`, or a site is unseen and `unseen` is "refuse".
        """
        check_is_fitted(self)
        features_NF, site_N, covariates = self._take_apart(X, reset=False)
        expected_NF = self.mean_ + self._coded(covariates) @ self.coef_
        z_NF = (features_NF - expected_NF) / self.scale_
        harmonized_NF = features_NF.copy()
        for site in sorted(set(site_N), key=str):
            rows = np.flatnonzero([other == site for other in site_N])
            effect = self._effect_of(site, z_NF[rows])
            if effect is not None:
                harmonized_NF[rows] = effect.removed_from(z_NF[rows]) * self.scale_ + expected_NF[rows]
        return harmonized_NF

    def _check_parameters(self) -> None:
        if self.unseen not in UNSEEN:
            raise ParameterError("unseen", must_be=" or ".join(UNSEEN), got=self.unseen)
        if self.min_rows < 2:
            raise ParameterError("min_rows", must_be="at least 2", got=self.min_rows)
        if isinstance(self.covariates, str):
            raise ParameterError(
                "covariates", must_be="a sequence of names", got=f"the text {self.covariates!r}"
            )

    def _coded(self, frame: pd.DataFrame) -> Matrix:
        columns = [covariate.columns(frame[covariate.name]) for covariate in self.covariates_]
        return np.hstack([np.empty((len(frame), 0)), *columns])

    def _choose_covariates(self, frame: pd.DataFrame, known_NP: Matrix) -> Matrix:
        """Code the covariates that sites and labels do not already tell (N, C)."""
        if np.linalg.matrix_rank(known_NP) < known_NP.shape[1]:
            raise ParameterError(
                "sites and labels",
                must_be="told apart by one site at least with both labels",
                got="sites that tell the label of each row",
                do="harmonizing would take the labels' effect away or make it up: leave ComBat out",
            )
        self.covariates_: list[Covariate] = []
        design = known_NP
        for name in self.covariates:
            covariate = learn_covariate(name, frame[name])
            wider = np.hstack([design, covariate.columns(frame[name])])
            if wider.shape[1] > design.shape[1] and np.linalg.matrix_rank(wider) == wider.shape[1]:
                design = wider
                self.covariates_.append(covariate)
        if design.shape[1] >= len(design):
            raise ParameterError(
                "training rows",
                must_be=f"more than the {design.shape[1]} columns of sites, labels and covariates",
                got=len(design),
                do="take fewer covariates",
            )
        return np.asarray(design[:, known_NP.shape[1] :])

    def _learn(
        self, features_NF: NDArray[np.floating[Any]], sites_NS: Matrix, others_NC: Matrix, known: list[Any]
    ) -> None:
        n_sites, n_covariates = len(known), sum(len(covariate.terms) for covariate in self.covariates_)
        design = np.hstack([sites_NS, others_NC])
        values_NF = features_NF.astype(np.float64)
        coefficients, *_ = np.linalg.lstsq(design, values_NF)
        residual_NF = values_NF - design @ coefficients
        self.mean_ = sites_NS.mean(axis=0) @ coefficients[:n_sites]
        self.coef_ = coefficients[n_sites : n_sites + n_covariates]
        deviation_F = np.sqrt((residual_NF**2).mean(axis=0))
        rounding_F = 10 * np.finfo(features_NF.dtype).eps * np.abs(values_NF).max(axis=0)
        self.varying_ = deviation_F > rounding_F
        self.scale_ = np.where(self.varying_, deviation_F, 1.0)
        z_NF = (residual_NF + sites_NS @ coefficients[:n_sites] - self.mean_) / self.scale_
        if n_sites == 1:
            self.effects_ = {known[0]: no_effect(z_NF.shape[1])}
        else:
            self.effects_ = {
                site: self._estimate(z_NF[sites_NS[:, column] == 1]) for column, site in enumerate(known)
            }

    def _estimate(self, z_nF: Matrix) -> SiteEffect:
        """The effect of one site; none on features that are constant in training."""
        effect = no_effect(z_nF.shape[1])
        if self.varying_.any():
            varying = site_effect(z_nF[:, self.varying_], empirical_bayes=self.empirical_bayes)
            effect.location_F[self.varying_] = varying.location_F
            effect.variance_F[self.varying_] = varying.variance_F
        return effect

    def _effect_of(self, site: Any, z_nF: Matrix) -> SiteEffect | None:
        """The effect of a site on rows to transform; None where they stay as they are."""
        if site in self.effects_:
            return self.effects_[site] if len(self.effects_) > 1 else None
        if self.unseen == "refuse" and site not in self.small_sites_:
            names = ", ".join(map(str, self.effects_))
            raise ParameterError("site", must_be=f"one that was fitted ({names})", got=site)
        if self.unseen == "adapt" and len(z_nF) >= self.min_rows:
            return self._estimate(z_nF)
        return None

    def _take_apart(
        self, X: Any, *, reset: bool
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.object_], pd.DataFrame]:
        """Features (N, F), sites (N,) and covariates of X."""
        named = [*([self.site] if self.site is not None else []), *self.covariates]
        missing = [name for name in named if not isinstance(X, pd.DataFrame) or name not in X.columns]
        if missing:
            raise ParameterError(
                "X",
                must_be=f"a DataFrame with {', '.join(map(repr, missing))}",
                got=type(X).__name__,
                do="make it with neuro.sites.harmonize.with_sites",
            )
        features = X.drop(columns=named) if named else X
        how = {
            "dtype": [np.float64, np.float32],
            "ensure_all_finite": False,
            "ensure_min_samples": 2 if reset else 1,
        }
        if isinstance(features, pd.DataFrame):  # names first: scikit-learn looks at columns one by one
            validate_data(self, features, reset=reset, skip_check_array=True)
            features_NF = check_array(features.to_numpy(), estimator=self, **how)
        else:
            features_NF = validate_data(self, features, reset=reset, **how)
        _require_finite(features_NF)
        site_N = np.full(len(features_NF), "", dtype=object)
        if self.site is not None:
            site_N[:] = complete("site", X[self.site], must_be="known for every row")
        columns = {name: X[name].array for name in self.covariates}
        return features_NF, site_N, pd.DataFrame(columns, index=range(len(features_NF)))


def with_sites(features_NF: ArrayLike, table: pd.DataFrame, covariates: Sequence[str] = ()) -> pd.DataFrame:
    """Features with the columns that `Combat` takes: `site` and these covariates of a cohort's table.

    Args:
        features_NF: one row a run, in the order of the table; its columns are named "0", "1", …
        table: with `site` and the covariates.
        covariates: e.g. age and sex; never the label.

    Raises:
        ParameterError: the table has another number of rows.
    """
    values_NF = np.asarray(features_NF)
    if len(values_NF) != len(table):
        raise ParameterError("features", must_be=f"of {len(table)} rows, as the table", got=len(values_NF))
    frame = pd.DataFrame(values_NF, columns=list(map(str, range(values_NF.shape[1]))))
    beside = table[[SITE, *covariates]].reset_index(drop=True)
    return pd.concat([frame, beside], axis=1)


def after_combat(estimator: Any, covariates: Sequence[str] = ()) -> Pipeline:
    """A classifier of features, unfitted, behind a `Combat` that is fitted on the same training rows."""
    return make_pipeline(Combat(covariates=tuple(covariates)), clone(estimator))


def sites_tell_labels(sites: ArrayLike, labels: ArrayLike, min_rows: int = 3) -> bool:
    """Whether every site (of `min_rows` rows) has one label only, so that `Combat` would refuse."""
    frame = pd.DataFrame({"site": np.asarray(sites, dtype=object), "label": np.asarray(labels)})
    frame = frame[frame.groupby("site")["site"].transform("size") >= min_rows]
    site_NS = pd.get_dummies(frame["site"]).to_numpy(float)
    label_NL = pd.get_dummies(frame["label"], drop_first=True).to_numpy(float)
    design = np.hstack([site_NS, label_NL])
    return bool(len(frame) == 0 or np.linalg.matrix_rank(design) < design.shape[1])


def _require_finite(features_NF: NDArray[np.floating[Any]]) -> None:
    bad_F = ~np.isfinite(features_NF).all(axis=0)
    if bad_F.any():
        raise ParameterError(
            "features",
            must_be="finite numbers",
            got=f"NaN or infinite in {bad_F.sum()} of {len(bad_F)} (column {np.flatnonzero(bad_F)[0]})",
            do="fill them in or leave these features out before harmonizing",
        )
