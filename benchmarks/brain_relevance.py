"""Do maps of relevance show what was planted? Ways of explaining the brain Transformer, on simulated cohorts.

    python -m benchmarks.brain_relevance --seeds 1 2 3 [--work DIR]

Each seed is a cohort of its own, evaluated by person in 3 folds; every person is explained by the model that
had not seen them, and a map is the mean over patients less that over controls. Asked are the voxel-wise AUC
of |relevance| against the planted mask, how far methods agree, whether random weights destroy the map, and
whether it stays the same with another seed of the training and with other people. Trained models are kept in
DIR, and taken from there the next time. Writes benchmarks/results/brain_relevance.json and .md.

Letters: N runs, X Y Z voxel axes.
"""

from __future__ import annotations

import argparse
import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from benchmarks.outcome import machine, table, write
from benchmarks.plain_folds import person_folds
from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.parcels.atlases import load_atlas
from data.simulation.cohort import SimulationSpec, simulate
from neuro.classifier import ParkinsonClassifier
from neuro.demo import DEMO_EFFECT, DEMO_RECIPE
from neuro.explain import DEFAULT, METHODS, Options, Relevance, as_image, group_map, out_of_fold
from neuro.explain.checks import randomised, rank_correlation, rank_correlations, voxel_auc
from neuro.explain.regions import region_table
from neuro.study import StudyConfig, cut_runs, labels_and_people
from neuro.tokens import CubeTokens

SUBJECTS, FOLDS, ATLAS, BAR = 60, 3, "aal", 0.85
TRAINING_SEEDS = (1, 2)  # of the first cohort's models
FEW = 20  # people, where everybody takes too long: occlusion, and all methods with random weights
RANDOMISED = tuple(name for name in METHODS if name != "occlusion")  # which takes a pass a region and clip
SHOWN = {"voxel_auc": ".3f", "single": ".3f", "rank_correlation": ".2f", "strongest": ".2g"}
Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulated:
    """A cohort, its folds and what was planted in it."""

    seed: int
    folder: Path
    runs: list[CubeTokens]
    labels_N: NDArray[np.int64]
    folds: list[Any]
    fold_of_N: NDArray[np.int64]
    planted_XYZ: NDArray[np.bool_]
    brain_XYZ: NDArray[np.bool_]


def simulated(seed: int, work: Path) -> Simulated:
    """Simulate and prepare a cohort, or take the one that is there."""
    folder = work / f"cohort-{seed}"
    derivative = folder / "derivative"
    if not derivative.is_dir():
        effects = {"effect_amplitude": DEMO_EFFECT, "effect_coupling": DEMO_EFFECT}
        simulate(derivative, SimulationSpec(subjects=SUBJECTS, seed=seed, **effects))
    if not (folder / "cache").is_dir():
        prepare(Cohort.from_derivatives(derivative), DEMO_RECIPE, folder / "cache", progress=False)
    cache = Cache.open(folder / "cache")
    labels, folds = labels_and_people(cache)[0], person_folds(cache, seed, FOLDS)
    fold_of = np.full(len(labels), -1)
    for number, (_, test) in enumerate(folds):
        fold_of[test] = number
    runs = cut_runs(cache, StudyConfig().tokens)
    return Simulated(
        seed=seed,
        folder=folder,
        runs=runs,  # type: ignore[arg-type]
        labels_N=labels,
        folds=folds,
        fold_of_N=fold_of,
        planted_XYZ=np.asarray(nib.load(derivative / "planted_mask.nii.gz").dataobj) > 0,
        brain_XYZ=np.any([run.run.mask_XYZ for run in runs], axis=0),  # type: ignore[attr-defined]
    )


def trained(cohort: Simulated, seed: int) -> list[ParkinsonClassifier]:
    """The model of each fold, from DIR where it is there."""
    models = []
    for number, (train, _) in enumerate(cohort.folds):
        kept = cohort.folder / f"seed-{seed}-fold-{number}"
        if not kept.is_dir():
            fitted = StudyConfig(seed=seed, device="cpu").classifier()
            fitted.fit([cohort.runs[i] for i in train], cohort.labels_N[train]).save(kept)
        models.append(ParkinsonClassifier.load(kept, device="cpu"))
    return models


def mapped(
    cohort: Simulated, models: Sequence[ParkinsonClassifier], method: str, people: int | None = None
) -> list[Relevance]:
    """Every run explained out of fold; or the first few, of whom half are patients."""
    options = Options(atlas=load_atlas(ATLAS)) if method == "occlusion" else None
    chosen = slice(people)
    return out_of_fold(models, cohort.runs[chosen], cohort.fold_of_N[chosen], method, options)


def of_cohort(cohort: Simulated) -> tuple[dict[str, Any], dict[str, Map]]:
    """AUC of the classifier and of each method's map, of the group and of single people; the maps."""
    from sklearn.metrics import roc_auc_score

    models = trained(cohort, cohort.seed)
    maps, methods = {}, {}
    for method in METHODS:
        found = mapped(cohort, models, method, FEW if method == "occlusion" else None)
        labels = cohort.labels_N[: len(found)]
        maps[method] = group_map(found, labels)
        single_N = np.array([_auc_of_one(cohort, one) for one in found])
        methods[method] = {
            "people": len(found),
            "voxel_auc": voxel_auc(maps[method], cohort.planted_XYZ, cohort.brain_XYZ),
            "patients": float(np.median(single_N[labels == 1])),
            "controls": float(np.median(single_N[labels == 0])),
        }
        if len(found) == len(cohort.runs):
            logits = np.array([one.logit for one in found])
        print(cohort.seed, method, methods[method], flush=True)
    within = [roc_auc_score(cohort.labels_N[test], logits[test]) for _, test in cohort.folds]
    regions = region_table(as_image(maps[DEFAULT], cohort.runs[0]), ATLAS).head(3)
    facts = {
        "seed": cohort.seed,
        "classifier_auc": float(np.mean(within)),
        "methods": methods,
        "rank_correlations": rank_correlations(maps, cohort.brain_XYZ).to_dict(),
        "regions": regions.to_dict("records"),
    }
    return facts, maps


def _auc_of_one(cohort: Simulated, one: Relevance) -> float:
    brain_XYZ = one.run.run.mask_XYZ  # type: ignore[attr-defined]
    return voxel_auc(one.volume(), cohort.planted_XYZ, brain_XYZ)


def random_weights(cohort: Simulated) -> list[dict[str, Any]]:
    """Maps after each stage of drawing weights anew: AUC, and correlation with those of the trained ones."""
    models = trained(cohort, cohort.seed)
    cascades = [dict(randomised(model, seed=number)) for number, model in enumerate(models)]
    rows = []
    for method in RANDOMISED:
        kept: Map | None = None
        for stage in ("none", *cascades[0]):
            drawn = models if stage == "none" else [cascade[stage] for cascade in cascades]
            found = mapped(cohort, drawn, method, FEW)
            group = group_map(found, cohort.labels_N[:FEW])
            kept = group if kept is None else kept
            rows.append(
                {
                    "stage": stage,
                    "method": method,
                    "voxel_auc": voxel_auc(group, cohort.planted_XYZ, cohort.brain_XYZ),
                    "single": float(np.median([_auc_of_one(cohort, one) for one in found])),
                    "rank_correlation": rank_correlation(group, kept, cohort.brain_XYZ),
                    "strongest": float(np.abs(group).max()),
                }
            )
            print(rows[-1], flush=True)
    return rows


def stability(cohort: Simulated, others: Sequence[Map], first: Map) -> dict[str, Any]:
    """Rank correlations of the default method's maps: other seeds of the training, other people."""
    seeds = [seed for seed in TRAINING_SEEDS if seed != cohort.seed]
    again = [group_map(mapped(cohort, trained(cohort, seed), DEFAULT), cohort.labels_N) for seed in seeds]

    def pairs(maps: Sequence[Map]) -> list[float]:
        return [rank_correlation(a, b, cohort.brain_XYZ) for a, b in combinations(maps, 2)]

    return {
        "training_seeds": [cohort.seed, *seeds],
        "voxel_auc": [voxel_auc(m, cohort.planted_XYZ, cohort.brain_XYZ) for m in [first, *again]],
        "seeds": pairs([first, *again]),
        "people": pairs([first, *others]),
    }


def main() -> None:
    """Run all cohorts and write the tables."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="cohorts")
    parser.add_argument("--work", type=Path, default=None, help="keep cohorts and models here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        cohorts = [simulated(seed, work) for seed in options.seeds]
        done = [of_cohort(cohort) for cohort in cohorts]
        rows = random_weights(cohorts[0])
        asked = [str(seed) for seed in options.seeds]
        maps = [found[DEFAULT] for _, found in done]
        fields = {
            "command": shlex.join(["python", "-m", "benchmarks.brain_relevance", "--seeds", *asked]),
            "machine": machine("torch", "timm", "captum"),
            "subjects": SUBJECTS,
            "atlas": ATLAS,
            "default": DEFAULT,
            "cohorts": [facts for facts, _ in done],
            "random_weights": rows,
            "stability": stability(cohorts[0], maps[1:], maps[0]),
        }
    write("brain_relevance", fields, "Maps of relevance, against what was planted", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    stable = fields["stability"]
    return [
        f"Simulated cohorts of {fields['subjects']} people at 2 sites, {FOLDS} folds by person; patients lose"
        f" {DEMO_EFFECT:.0%} of amplitude and",
        f"coupling in the posterior putamen. AUC of |relevance| over the voxels of the brain; for"
        f" `{fields['default']}` {BAR} was aimed at.",
        "Tokens are cubes of 16 mm: a map that is right in every cube scores 0.99. Single people: medians.",
        "",
        *table(
            [
                "cohort",
                "classifier",
                "method",
                "people",
                "group map",
                "a patient (median)",
                "a control (median)",
            ],
            [row for cohort in fields["cohorts"] for row in _auc_rows(cohort)],
        ),
        "",
        f"Regions of {fields['atlas']} with the most relevance a voxel, by `{fields['default']}`:",
        "",
        *table(["cohort", "regions"], [_region_cells(cohort) for cohort in fields["cohorts"]]),
        "",
        "Spearman's correlation of |relevance| of two methods' group maps, mean over the cohorts:",
        "",
        *_correlation_table(fields["cohorts"]),
        "",
        f"Weights drawn anew, one stage after the other (first cohort, {FEW} people): AUC against the",
        "planted mask, of the group map and of single people (median); the group map's correlation with",
        "that of the trained weights, and its largest value.",
        "",
        *table(
            ["drawn anew, down to", "method", "group map", "a person", "rank correlation", "largest"],
            [
                [row["stage"], row["method"], *(f"{row[key]:{form}}" for key, form in SHOWN.items())]
                for row in fields["random_weights"]
            ],
        ),
        "",
        f"With random weights a group map still has an AUC of up to {_most_random(fields):.3f}: the groups'",
        "tokens differ in the planted place, whoever looks at them. AUC of a group map alone does not prove",
        "that the model learned; its correlation, its size and single people's maps tell.",
        "",
        f"Stability of `{fields['default']}`, rank correlation of group maps, each pair: same people, other",
        f"seeds of the training {_all(stable['seeds'])} (AUC {_all(stable['voxel_auc'], 3)});",
        f"other people {_all(stable['people'])}.",
    ]


def _most_random(fields: dict[str, Any]) -> float:
    return max(float(row["voxel_auc"]) for row in fields["random_weights"] if row["stage"] != "none")


def _auc_rows(cohort: dict[str, Any]) -> list[list[str]]:
    begin, keys = (
        [str(cohort["seed"]), f"{cohort['classifier_auc']:.3f}"],
        ("voxel_auc", "patients", "controls"),
    )
    return [
        [*begin, name, str(found["people"]), *(f"{found[key]:.3f}" for key in keys)]
        for name, found in cohort["methods"].items()
    ]


def _region_cells(cohort: dict[str, Any]) -> list[str]:
    words = [f"{row['region']} ({row['mean_abs']:.3g})" for row in cohort["regions"]]
    return [str(cohort["seed"]), ", ".join(words)]


def _correlation_table(cohorts: list[dict[str, Any]]) -> list[str]:
    names = list(cohorts[0]["rank_correlations"])
    mean: Callable[[str, str], float] = lambda a, b: float(  # noqa: E731
        np.mean([cohort["rank_correlations"][a][b] for cohort in cohorts])
    )
    return table(["", *names], [[a, *(f"{round(mean(a, b), 2) + 0.0:.2f}" for b in names)] for a in names])


def _all(values: Sequence[float], digits: int = 2) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
