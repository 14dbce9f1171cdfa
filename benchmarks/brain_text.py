"""Do words find the scans of people whom an aligned model has not seen? Simulated cohorts, several seeds.

    python -m benchmarks.brain_text --cohorts FOLDER

Each seed is a cohort of its own (80 people, 2 sites), simulated and prepared once into FOLDER and kept there,
then aligned as `neuro align` does by default, by person in 5 folds, with the sentences of `embedded:lite`.
Only the diagnosis leaves a trace in these brains: age, sex and severity are told and are not there to be
found. Writes benchmarks/results/brain_text.json and .md.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from benchmarks.outcome import command, machine, table, write
from data.caches.cache import Cache, prepare
from data.cohorts.cohort import Cohort
from data.simulation.cohort import SimulationSpec, simulate
from neuro.align.bank import UNKNOWN, SentenceBank, text_tower
from neuro.align.config import AlignConfig
from neuro.align.retrieval import DEPTH, Collection, Found, by_label, by_own_sentence, holds_between
from neuro.align.study import align_cohort
from neuro.align.zero_shot import class_vectors
from neuro.demo import DEMO_EFFECT, DEMO_RECIPE
from neuro.protocol.intervals import fold_auc
from neuro.protocol.predictions import Predictions

PEOPLE = 80
LEAST_AUC = 0.8  # what was aimed at: with the effect


def cohort(folder: Path, effect: float, seed: int) -> Cache:
    """Simulated and prepared, once."""
    place = folder / f"{PEOPLE}-people-effect-{effect:g}-seed-{seed}"
    if not (place / "cache/cohort.tsv").is_file():
        shutil.rmtree(place, ignore_errors=True)
        spec = SimulationSpec(subjects=PEOPLE, effect_amplitude=effect, effect_coupling=effect, seed=seed)
        derivative = simulate(place / "derivative", spec)
        prepare(Cohort.from_derivatives(derivative), DEMO_RECIPE, place / "cache", False)
        shutil.rmtree(derivative)
    return Cache.open(place / "cache")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What came of one cohort, without any model."""

    seed: int
    predictions: Predictions
    vectors_NE: NDArray[np.float32]
    bank: SentenceBank
    figures: dict[str, Any]


def one(folder: Path, effect: float, seed: int) -> Part:
    """One cohort, aligned out of fold."""
    import torch

    torch.set_num_threads(1)
    found = align_cohort(cohort(folder, effect, seed), AlignConfig(seed=seed, device="cpu"), whole=False)
    return Part(
        seed=seed,
        predictions=found.predictions,
        vectors_NE=found.vectors_NE,
        bank=found.bank,
        figures=found.figures(),
    )


def pooled(parts: Sequence[Part]) -> dict[str, Any]:
    """Figures of several cohorts together, each with folds and people of its own."""
    said = [part.predictions for part in parts]
    folds = [one.folds[0] + 100 * number for number, one in enumerate(said)]
    people = [
        np.array([f"{number}/{who}" for who in one.people], dtype=object) for number, one in enumerate(said)
    ]
    collection = Collection(
        vectors_NE=np.concatenate([part.vectors_NE for part in parts]),
        labels=np.concatenate([one.labels for one in said]),
        people=np.concatenate(people),
        fold_of=np.concatenate(folds),
    )
    scores = np.concatenate([one.scores[0] for one in said])
    auc = fold_auc(collection.labels, scores, collection.fold_of, collection.people)
    return {"auc": asdict(auc), "retrieval": [found.to_dict() for found in _found(parts, collection)]}


def _found(parts: Sequence[Part], collection: Collection) -> list[Found]:
    words = AlignConfig().sentences.words
    classes_2E = class_vectors(text_tower(AlignConfig().text, "cpu")[1], words)
    queries, sizes = [part.bank.vectors_SE[part.bank.fullest] for part in parts], [0]
    sizes += np.cumsum([len(one) for one in queries]).tolist()
    truth_NN = np.full((sizes[-1], sizes[-1]), UNKNOWN, dtype=np.int8)
    for part, first, last in zip(parts, sizes, sizes[1:], strict=False):
        truth_NN[first:last, first:last] = holds_between(part.bank.truth_RS, part.bank.fullest)
    return [
        by_label(collection, classes_2E[1], 1, words.people(1)[0], 0),
        by_label(collection, classes_2E[0], 0, words.people(0)[0], 0),
        by_own_sentence(collection, np.concatenate(queries), truth_NN, "all that is told of one person", 0),
    ]


def measured(folder: Path, effect: float, seeds: Sequence[int]) -> dict[str, Any]:
    """Every seed, and all of them together."""
    done = Parallel(n_jobs=-1, verbose=10)(delayed(one)(folder, effect, seed) for seed in seeds)
    rows: list[dict[str, Any]] = []
    for part in done:
        found = part.figures
        rows.append(
            {"seed": str(part.seed), "auc": found["zero_shot"]["auc"], "retrieval": found["retrieval"]}
        )
    rows += [{"seed": "all", **pooled(done)}] if len(done) > 1 else []
    return {"effect": effect, "rows": rows}


def main() -> None:
    """Run all seeds and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="cohorts with the effect")
    parser.add_argument("--null-seeds", type=int, nargs="+", default=[4], help="cohorts without it")
    parser.add_argument("--cohorts", type=Path, help="where prepared cohorts are kept; thrown away otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = options.cohorts or Path(place)
        scenarios = [
            measured(folder, effect, seeds)
            for effect, seeds in ((DEMO_EFFECT, options.seeds), (0.0, options.null_seeds))
        ]
    fields = {
        "command": command("benchmarks.brain_text"),
        "machine": machine("torch", "timm", "scikit-learn"),
        "people": PEOPLE,
        "options": AlignConfig().identity(),
        "scenarios": scenarios,
    }
    write("brain_text", fields, "Scans and words", _lines(fields))


def _lines(fields: dict[str, Any]) -> list[str]:
    text = [
        f"Simulated cohorts of {fields['people']} people at 2 sites, 5 folds by person; everybody is looked",
        "at by a model that had not seen them. 95 % intervals over people. *Above*: how often a scan that",
        "the words are true of stands above one that they are not true of; chance is 0.5. With the effect a",
        f"zero-shot AUC of {LEAST_AUC} was aimed at.",
    ]
    for scenario in fields["scenarios"]:
        effect = scenario["effect"]
        title = f"Patients lose {effect:.0%} of amplitude and coupling" if effect else "No effect at all"
        asked = [one["asked"] for one in scenario["rows"][0]["retrieval"]]
        heads = ["seed", "zero-shot AUC", *(f"above: {words}" for words in asked)]
        heads += [f"own scan among the first {DEPTH} (chance)"]
        text += ["", f"## {title}", "", *table(heads, [_row(row) for row in scenario["rows"]])]
    return text


def _row(row: dict[str, Any]) -> list[str]:
    own = row["retrieval"][-1]
    return [
        row["seed"],
        _told(row["auc"]),
        *(_told(one["above"]) for one in row["retrieval"]),
        f"{_told(own['recall'])} ({own['recall_chance']:.3f})",
    ]


def _told(value: dict[str, float]) -> str:
    return f"{value['estimate']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


if __name__ == "__main__":
    main()
