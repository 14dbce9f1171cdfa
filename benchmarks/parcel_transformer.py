"""The brain Transformer on real patients, beside connectivity and a linear SVM on the very same folds.

    python -m benchmarks.parcel_transformer SHARED/data/pd --photos SHARED/data/photos

TaoWu, NEUROCON, both together, and each site trained on the other. Tokens are parcels. Nested by person: the
variant (what a token is, mixup, readout, which weights it begins with) is chosen on inner folds by AUC, and
the outer fold is looked at once. One of the variants begins with the blocks of a small picture Transformer
(`benchmarks.picture_teaching`); others leave the encoder as it is initialised, and read its tokens by place
with a support vector machine (the recipe `places`). Every variant is also reported by itself, as what was
tried; `--variants` names those to fit. Writes benchmarks/results/parcel_transformer.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmarks.connectivity_protocols import ANCHORS, OURS, PUBLISHED_TR, TASKS, Task, sample
from benchmarks.outcome import command, machine, write
from benchmarks.parcel_tables import BASELINE, OURS_NESTED, report
from benchmarks.photographs import add_photos_option
from benchmarks.picture_teaching import taught
from data.caches.cache import Cache
from data.exchange.parcel_cohort import ParcelCohort, prepare_parcels
from data.splits.folds import Fold, leave_one_site_out, repeated_subject_folds
from data.splits.nested_splits import NestedFold, nest_by_subject
from neuro.baselines.connectivity import connectivity_svm
from neuro.classifier import ParkinsonClassifier
from neuro.model import DEFAULT_BACKBONE, ModelConfig
from neuro.presets import load_preset
from neuro.protocol.intervals import fold_auc
from neuro.tokens import ParcelSpec, RunTokens, cut
from neuro.tokens.parcels import Profile
from neuro.training.config import OptimizerConfig, TrainingConfig

FRAMES, WINDOW = 120, 60  # NEUROCON's runs have 137 frames
INNER = 3
ACROSS = "AAL116"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to build and train it.

    Attributes:
        name: in tables.
        profile: what a token is.
        mixup, readout: of the training, where the encoder is trained.
        pictures: begin with the picture Transformer's blocks.
        frozen: as the recipe `places`: the encoder stays as it begins.
        seeds: encoders whose logits are averaged; each begins by a seed of its own.
    """

    name: str
    profile: Profile = "correlation"
    mixup: float = 0.0
    readout: Any = "regions"
    pictures: bool = False
    frozen: bool = False
    seeds: int = 1


VARIANTS = (
    Variant(name="profiles"),
    Variant(name="profiles, mixup", mixup=0.4),
    Variant(name="profiles, picture weights, mixup", mixup=0.4, pictures=True),
    Variant(name="profiles, mean readout, mixup", mixup=0.4, readout="mean"),
    Variant(name="windows of signal", profile="none"),
    Variant(name="frozen, correlations, SVM", frozen=True, seeds=5),
    Variant(name="frozen, partial correlations, SVM", profile="partial", frozen=True, seeds=5),
)
PROFILES: tuple[Profile, ...] = ("none", "correlation", "partial")


@dataclass(frozen=True, kw_only=True, eq=False)
class Patients:
    """Runs of a task in each way of cutting, with what the baseline sees."""

    tokens: dict[Profile, list[RunTokens]]
    edges: NDArray[np.float32]
    labels: NDArray[np.int64]
    people: NDArray[np.object_]
    sites: NDArray[np.object_]


def patients(cache: Cache, task: Task) -> Patients:
    """Cut the runs of a task."""
    found = sample(cache, task, OURS)
    rows = np.flatnonzero(cache.table["site"].isin(task.sites))
    specs = {
        profile: ParcelSpec(
            atlas=task.atlas, frames=FRAMES, window=WINDOW if profile == "none" else None, profile=profile
        )
        for profile in PROFILES
    }
    return Patients(
        tokens={profile: [cut(cache, int(i), spec) for i in rows] for profile, spec in specs.items()},
        edges=found.features,
        labels=found.labels,
        people=found.people,
        sites=found.sites,
    )


def classifier(variant: Variant, pictures: Path, seed: int) -> ParkinsonClassifier:
    """The variant, untrained."""
    if variant.frozen:
        recipe = load_preset("places")
        return ParkinsonClassifier(recipe.model, recipe.training, seed=seed, device="cpu")
    backbone = f"local:{pictures}" if variant.pictures else DEFAULT_BACKBONE
    training = TrainingConfig(epochs=30, mixup=variant.mixup, optimizer=OptimizerConfig(weight_decay=0.1))
    return ParkinsonClassifier(
        model=ModelConfig(backbone=backbone, readout=variant.readout),
        training=training,
        seed=seed,
        device="cpu",
    )


def scores(found: Patients, fold: Fold, variant: Variant, pictures: Path, seed: int) -> NDArray[np.float64]:
    """Logits of the fold's test runs, averaged over the variant's seeds."""
    train, test = fold
    runs = found.tokens[variant.profile]
    logits = []
    for own in range(seed * variant.seeds, (seed + 1) * variant.seeds):
        model = classifier(variant, pictures, own).fit(
            [runs[i] for i in train], found.labels[train], groups=found.people[train]
        )
        logits.append(model.decision_function([runs[i] for i in test]))
    averaged: NDArray[np.float64] = np.stack(logits).mean(0)
    return averaged


def auc(found: Patients, fold: Fold, variant: Variant, pictures: Path, seed: int) -> float:
    """AUC of a variant on a fold."""
    return float(roc_auc_score(found.labels[fold[1]], scores(found, fold, variant, pictures, seed)))


def one_fold(
    found: Patients, fold: NestedFold, variants: Sequence[Variant], pictures: Path, seed: int
) -> dict[str, Any]:
    """All variants on an outer fold, the one that inner folds choose, and the baseline: scores and AUC."""
    import torch

    torch.set_num_threads(1)
    outer = (fold.train, fold.test)
    inner = {
        v.name: float(np.mean([auc(found, pair, v, pictures, seed) for pair in fold.inner])) for v in variants
    }
    chosen = max(inner, key=inner.__getitem__)
    told = {v.name: scores(found, outer, v, pictures, seed) for v in variants}
    svm = connectivity_svm().fit(found.edges[fold.train], found.labels[fold.train])
    told |= {OURS_NESTED: told[chosen], BASELINE: svm.decision_function(found.edges[fold.test])}
    return {
        "tested_sites": sorted(set(found.sites[fold.test])),
        "chosen": chosen,
        "inner": inner,
        "auc": {name: float(roc_auc_score(found.labels[fold.test], s)) for name, s in told.items()},
        "test": fold.test.tolist(),
        "scores": {name: s.tolist() for name, s in told.items()},
    }


def measured(
    found: Patients, deals: Sequence[Sequence[Fold]], variants: Sequence[Variant], pictures: Path
) -> dict[str, Any]:
    """Every deal of people into folds, summed up for each contender (see `_summary`)."""
    nested = [
        nest_by_subject(folds, found.labels, found.people, n_splits=INNER, seed=number, strata=found.sites)
        for number, folds in enumerate(deals)
    ]
    jobs = [(number, fold) for number, folds in enumerate(nested) for fold in folds]
    done = Parallel(n_jobs=-1)(
        delayed(one_fold)(found, fold, variants, pictures, number) for number, fold in jobs
    )
    deal_of = np.array([number for number, _ in jobs])
    return {
        "ours": _summary(found, deal_of, done, OURS_NESTED),
        "baseline": _summary(found, deal_of, done, BASELINE),
        "variants": {v.name: _summary(found, deal_of, done, v.name) for v in variants},
        "chosen": {v.name: sum(row["chosen"] == v.name for row in done) for v in variants},
        "folds": done,
    }


def _summary(
    found: Patients, deal_of: NDArray[np.int64], rows: Sequence[dict[str, Any]], name: str
) -> dict[str, Any]:
    """Mean and spread over deals of the mean AUC of folds; and the interval of the AUC within folds.

    For the interval the folds of all deals stand side by side, and a person who is drawn is drawn in all.
    """
    values = np.array([row["auc"][name] for row in rows])
    means = [float(values[deal_of == deal].mean()) for deal in np.unique(deal_of)]
    tested = np.concatenate([row["test"] for row in rows])
    interval = fold_auc(
        found.labels[tested],
        np.concatenate([row["scores"][name] for row in rows]),
        np.repeat(np.arange(len(rows)), [len(row["test"]) for row in rows]),
        found.people[tested],
    )
    return {
        "mean": float(np.mean(means)),
        "sd": float(np.std(means)),
        "deals": len(means),
        "interval": asdict(interval),
    }


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds taowu.npz and neurocon.npz")
    parser.add_argument("--deals", type=int, default=3, help="deals of people into folds")
    parser.add_argument(
        "--variants",
        nargs="+",
        metavar="NAME",
        choices=[variant.name for variant in VARIANTS],
        default=[variant.name for variant in VARIANTS],
        help="which to fit and to choose among (all)",
    )
    add_photos_option(parser)
    options = parser.parse_args()
    variants = [variant for variant in VARIANTS if variant.name in options.variants]
    with tempfile.TemporaryDirectory() as folder:
        paths = [options.folder / f"{site}.npz" for site in PUBLISHED_TR]
        cache = prepare_parcels(ParcelCohort.from_npz(paths, tr=PUBLISHED_TR), Path(folder) / "cache")
        pictures = Path(folder) / "pictures"
        explained = None
        if any(variant.pictures for variant in variants):
            explained = taught(DEFAULT_BACKBONE, sorted(options.photos.iterdir()), pictures)
        tasks = {}
        for task in TASKS:
            found = patients(cache, task)
            deals = repeated_subject_folds(
                found.labels, found.people, n_repeats=options.deals, strata=found.sites
            )
            tasks[task.name] = measured(found, deals, variants, pictures)
        both = patients(cache, Task(name="", sites=tuple(PUBLISHED_TR), atlas=ACROSS, anchor=0, spread=0))
        across = measured(both, [leave_one_site_out(both.sites, both.people)], variants, pictures)
    fields = {
        "command": command("benchmarks.parcel_transformer")
        .replace(str(options.folder), "SHARED/data/pd")
        .replace(str(options.photos), "SHARED/data/photos"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "anchors": {
            task.name: {"mean": task.anchor, "sd": task.spread, "features": ANCHORS} for task in TASKS
        },
        "inner_folds": INNER,
        "across_atlas": ACROSS,
        "picture_teaching": explained,
        "tasks": tasks,
        "across_sites": across,
    }
    write("parcel_transformer", fields, "The brain Transformer on real patients", report(fields))


if __name__ == "__main__":
    main()
