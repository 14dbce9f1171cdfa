"""What ComBat does to a real pair of sites, in the fold and, for comparison, as a leak.

    python -m benchmarks.harmonization ../shared/data/pd

TaoWu and NEUROCON (81 people), correlations of AAL116 and a linear SVM, 5 folds x 10 by person, stratified by
site; across sites; how well the site itself is told; and the leaks with labels permuted within sites. Writes
benchmarks/results/harmonization.json and .md.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.outcome import command, machine, table, write
from benchmarks.plain_folds import auc_of, scores_in_folds
from data.splits.folds import Fold, leave_one_site_out, repeated_subject_folds
from neuro.baselines.connectivity import connectivity_svm
from neuro.protocol.contender import Contender
from neuro.sites.harmonize import Combat, with_sites

SITES = ("taowu", "neurocon")
AGE_SEX = ("age", "sex")


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """Features (N, F), label (N,) and the table of site, age, sex and person."""

    features_NF: NDArray[np.float32]
    labels: NDArray[np.int64]
    table: pd.DataFrame

    @property
    def persons(self) -> NDArray[np.object_]:
        """Who each row is (N,)."""
        return self.table["person"].to_numpy(object)

    def harmonized(self, labels: NDArray[np.int64], covariates: tuple[str, ...] = (), **how: Any) -> Any:
        """Everybody harmonized at once: what must not be done."""
        X = with_sites(self.features_NF, self.table.assign(diagnosis=labels.astype(str)), covariates)
        return Combat(covariates=covariates, **how).fit(X, labels).transform(X)


def read(folder: Path) -> People:
    """Both sites' parcel series as correlations."""
    features, labels, tables = [], [], []
    for site in SITES:
        with np.load(folder / f"{site}.npz") as file:
            series = file["ts_AAL116"]
            pairs = np.tril_indices(series.shape[2], -1)
            # A region without a signal has no correlations: they are taken as 0.
            with np.errstate(invalid="ignore", divide="ignore"):
                features += [np.nan_to_num(np.corrcoef(run.T)[pairs]) for run in series]
            labels.append(file["y"])
            person = [f"{site}-{subject}" for subject in file["subject"]]
            columns = {"site": site, "age": file["age"], "sex": file["sex"], "person": person}
            tables.append(pd.DataFrame(columns))
    return People(
        features_NF=np.asarray(features, dtype=np.float32),
        labels=np.concatenate(labels).astype(np.int64),
        table=pd.concat(tables, ignore_index=True),
    )


def in_fold(**how: Any) -> Any:
    """ComBat and the classifier, fitted together."""
    return make_pipeline(Combat(**how), *(clone(step) for _, step in connectivity_svm().steps))


def contenders(people: People, labels: NDArray[np.int64]) -> list[Contender]:
    """The plain classifier, ComBat in the fold, and three leaks."""
    sites, both = (with_sites(people.features_NF, people.table, names) for names in ((), AGE_SEX))
    plain = connectivity_svm()
    preserved = people.harmonized(labels, ("diagnosis",), use_labels=False)
    return [
        Contender(name="plain", estimator=plain, X=people.features_NF),
        Contender(name="in the fold", estimator=in_fold(), X=sites),
        Contender(name="in the fold, age and sex preserved", estimator=in_fold(covariates=AGE_SEX), X=both),
        Contender(name="in the fold, blind to labels", estimator=in_fold(use_labels=False), X=sites),
        Contender(
            name="leak: everybody, blind", estimator=plain, X=people.harmonized(labels, use_labels=False)
        ),
        Contender(name="leak: everybody, labels in the fit", estimator=plain, X=people.harmonized(labels)),
        Contender(name="leak: everybody, diagnosis preserved", estimator=plain, X=preserved),
    ]


def aucs(
    rivals: list[Contender], labels: NDArray[np.int64], people: People, folds: list[Fold]
) -> dict[str, float]:
    """AUC of each contender over one cross-validation."""
    found = scores_in_folds(rivals, labels, people.persons, folds)
    return {name: auc_of(scores).estimate for name, scores in found.items()}


def by_person(people: People, repeats: int) -> pd.DataFrame:
    """One row a repeat, one column a contender."""
    strata = people.table["site"]
    dealt = repeated_subject_folds(people.labels, people.persons, n_repeats=repeats, strata=strata)
    rivals = contenders(people, people.labels)
    return pd.DataFrame([aucs(rivals, people.labels, people, folds) for folds in dealt])


def permuted(people: People, repeats: int) -> pd.DataFrame:
    """As `by_person`, of labels that mean nothing: permuted within each site, anew in every repeat."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(repeats):
        labels = people.labels.copy()
        for site in SITES:
            mine = np.flatnonzero(people.table["site"] == site)
            labels[mine] = rng.permutation(labels[mine])
        folds = repeated_subject_folds(labels, people.persons, n_repeats=1, strata=people.table["site"])[0]
        rows.append(aucs(contenders(people, labels), labels, people, folds))
    return pd.DataFrame(rows)


def across_sites(people: People) -> pd.DataFrame:
    """Train on one site, test on the other: one row a tested site."""
    sites = with_sites(people.features_NF, people.table)
    rivals = [
        Contender(name="plain", estimator=connectivity_svm(), X=people.features_NF),
        Contender(name='unseen="pooled"', estimator=in_fold(), X=sites),
        Contender(name='unseen="adapt"', estimator=in_fold(unseen="adapt"), X=sites),
    ]
    folds = leave_one_site_out(people.table["site"], people.persons)
    tested = scores_in_folds(rivals, people.labels, people.persons, folds)
    found = {
        name: [roc_auc_score(people.labels[test], told.scores[test]) for _, test in folds]
        for name, told in tested.items()
    }
    return pd.DataFrame(found, index=[people.table["site"][test[0]] for _, test in folds])


def site_told(people: People) -> dict[str, float]:
    """AUC of telling the site of a person never seen, before and after harmonizing in the fold."""
    told = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    site = (people.table["site"] == SITES[0]).to_numpy(np.int64)
    rivals = [
        Contender(name="before", estimator=told, X=people.features_NF),
        Contender(
            name="after",
            estimator=make_pipeline(Combat(use_labels=False), told),
            X=with_sites(people.features_NF, people.table),
        ),
    ]
    return aucs(rivals, site, people, repeated_subject_folds(site, people.persons, n_repeats=1)[0])


def main() -> None:
    """Run all of it and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with taowu.npz and neurocon.npz")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    people = read(options.folder)
    real, chance = by_person(people, options.repeats), permuted(people, options.repeats)
    across, told = across_sites(people), site_told(people)
    rows = [
        [
            name,
            f"{real[name].mean():.3f} ± {real[name].std():.3f}",
            f"{chance[name].mean():.3f} ± {chance[name].std():.3f}",
        ]
        for name in real
    ]
    fields = {
        "command": command("benchmarks.harmonization"),
        "machine": machine("scikit-learn", "numpy"),
        "by_person": real.to_dict("list"),
        "permuted": chance.to_dict("list"),
        "across_sites": across.to_dict("index"),
        "site_told": told,
    }
    lines = [
        f"TaoWu and NEUROCON, {len(people.labels)} people: AUC within folds, 5 folds x {options.repeats}"
        " by person, mean and standard deviation over repeats.",
        "",
        *table(["ComBat", "AUC", "labels permuted within sites"], rows),
        "",
        *table(
            ["tested on", *across],
            [
                [str(site), *(f"{value:.3f}" for value in row)]
                for site, row in zip(across.index, across.to_numpy(), strict=True)
            ],
        ),
        "",
        f"The site of a person never seen is told with AUC {told['before']:.2f} before"
        f" and {told['after']:.2f} after.",
    ]
    write("harmonization", fields, "Harmonization of two real sites", lines)


if __name__ == "__main__":
    main()
