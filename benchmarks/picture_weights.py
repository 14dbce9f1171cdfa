"""Do weights that have seen pictures help to read brains? Pretrained against random, on the same folds.

    python -m benchmarks.picture_weights --photos SHARED/data/photos

On simulated cohorts with a planted effect, two pairs: the brain Transformer over tubelets, its patch
embedding inflated and its blocks taken from a small picture Transformer (`benchmarks.picture_teaching`),
against the same from scratch; and frozen features of slices from `embedded:lite` (ImageNet weights) against
the same network with random ones. `benchmarks.parcel_transformer` has the pair on real patients. Writes
benchmarks/results/picture_weights.json and .md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed

from benchmarks.outcome import command, machine, table, write
from benchmarks.photographs import add_photos_option
from benchmarks.picture_teaching import taught
from benchmarks.plain_folds import auc_of, person_folds, scores_in_folds
from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.baselines.slices import slice_features, slice_logistic
from neuro.classifier import ParkinsonClassifier
from neuro.demo import DEMO_EFFECT, DEMO_RECIPE
from neuro.model import DEFAULT_BACKBONE, ModelConfig
from neuro.protocol.contender import Contender
from neuro.study import cut_runs, labels_and_people
from neuro.tokens import TubeletSpec
from vision.backbones import load_backbone

SUBJECTS = 80
SLICE_PRETRAINED, SLICE_RANDOM = "embedded:lite", "scratch:tf_efficientnet_lite0"


def one(seed: int, pictures: Path) -> list[dict[str, Any]]:
    """All four on one cohort."""
    import torch

    torch.set_num_threads(1)
    spec = SimulationSpec(
        subjects=SUBJECTS, effect_amplitude=DEMO_EFFECT, effect_coupling=DEMO_EFFECT, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        derivative = simulate(Path(folder) / "derivative", spec)
        cohort = Cohort.from_derivatives(derivative)
        cache = prepare(cohort, DEMO_RECIPE, Path(folder) / "cache", progress=False)
        folds = person_folds(cache, seed)
        found = scores_in_folds(_contenders(cache, pictures, seed), *labels_and_people(cache), folds)
    return [{"seed": seed, "model": name, **asdict(auc_of(scores))} for name, scores in found.items()]


def _contenders(cache: Cache, pictures: Path, seed: int) -> list[Contender]:
    runs = cut_runs(cache, TubeletSpec())
    tubelets = [
        Contender(
            name=f"tubelets, {name}",
            estimator=ParkinsonClassifier(model=ModelConfig(backbone=backbone), seed=seed, device="cpu"),
            X=runs,
        )
        for name, backbone in (("picture weights", f"local:{pictures}"), ("scratch", DEFAULT_BACKBONE))
    ]
    slices = [
        Contender(name=f"slices, {name}", estimator=slice_logistic(), X=_features(cache, model))
        for name, model in (("picture weights", SLICE_PRETRAINED), ("random weights", SLICE_RANDOM))
    ]
    return [*tubelets, *slices]


def _features(cache: Cache, model: str) -> np.ndarray:
    backbone = load_backbone(model, device="cpu")
    return np.stack([slice_features(cache.run(i), backbone) for i in range(len(cache))])


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    add_photos_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        explained = taught(DEFAULT_BACKBONE, sorted(options.photos.iterdir()), pictures)
        done = Parallel(n_jobs=-1)(delayed(one)(seed, pictures) for seed in range(1, options.seeds + 1))
    rows = [row for found in done for row in found]
    fields = {
        "command": command("benchmarks.picture_weights").replace(str(options.photos), "SHARED/data/photos"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "picture_teaching": explained,
        "rows": rows,
    }
    write("picture_weights", fields, "Weights that have seen pictures", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    rows = fields["rows"]
    models = list(dict.fromkeys(row["model"] for row in rows))
    seen, unseen = (fields["picture_teaching"][name] for name in ("seen", "unseen"))
    means = {model: np.mean([row["estimate"] for row in rows if row["model"] == model]) for model in models}
    return [
        f"Simulated cohorts of {SUBJECTS} people, effect {DEMO_EFFECT:g}, 5 folds by person; AUC within",
        "folds, with its 95 % interval over people.",
        "",
        *table(
            ["seed", *models],
            [
                *(
                    [str(seed), *(_told(rows, seed, model) for model in models)]
                    for seed in dict.fromkeys(row["seed"] for row in rows)
                ),
                ["mean", *(f"{means[model]:.3f}" for model in models)],
            ],
        ),
        "",
        "Picture weights of the tubelets: a ViT of the same size taught to give an ImageNet network's"
        f" features of crops of photographs; it explains {seen:.2f} of their variance on photographs that it"
        f" saw, {unseen:.2f} on others. No pretrained ViT could be fetched.",
    ]


def _told(rows: list[dict[str, Any]], seed: int, model: str) -> str:
    row = next(row for row in rows if row["seed"] == seed and row["model"] == model)
    return f"{row['estimate']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"


if __name__ == "__main__":
    main()
