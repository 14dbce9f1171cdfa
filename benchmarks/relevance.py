"""Is the probability of relevance worth its name? Real photographs, queries with and without an answer.

    python -m benchmarks.relevance --photos DIR [--model NAME] [--cache FILE.npz]

What is asked is told in `benchmarks.relevance_cases`. The constants are fitted on one half of the kinds, and
every figure is of the other. Writes benchmarks/results/relevance.json and .md.

Shape legend: N pictures, Q queries, E components.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from benchmarks.relevance_cases import PHRASINGS, SHARES, SIZES, Case, Vectors, cases, embed
from vision.retrieval import relevance as calibration

RESULTS = Path(__file__).parent / "results"


def fit(chosen: list[Case]) -> dict[str, float]:
    """Offset and slope of the log-odds of relevance, by maximum likelihood; a case's best hit counts most."""
    evidence, label, weight = [], [], []
    for case in chosen:
        deep = 10 if case.setting == "kinds" or not case.setting.startswith("share") else 15
        best = np.argsort(-case.scores, kind="stable")[:deep]
        expected = calibration.expected_above(case.scores[best], case.scores, len(case.scores))
        if np.isfinite(expected).all():
            evidence.append(-np.log(expected))
            label.append(case.relevant[best])
            first = 0.3 if case.setting.startswith("share") else 1.0
            weight.append(np.r_[first, np.full(len(best) - 1, 0.3 if first < 1 else 0.1)])
    x, y, w = np.concatenate(evidence), np.concatenate(label), np.concatenate(weight)

    def loss(p: np.ndarray) -> float:
        return float((w * np.logaddexp(0, -(2.0 * y - 1) * (p[0] + p[1] * x))).sum() / w.sum())

    found = minimize(loss, [-2.5, 0.7])
    return {"offset": float(found.x[0]), "slope": float(found.x[1]), "loss": float(found.fun)}


def auc(values: np.ndarray, labels: np.ndarray) -> float:
    """Share of (relevant, irrelevant) pairs in the right order, ties half."""
    positives = int(labels.sum())
    ranks = rankdata(values)[labels].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * (len(labels) - positives)))


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over bins of equal width."""
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(np.sum(probabilities[place == b] - labels[place == b])) for b in range(bins)]
    return float(sum(gaps) / len(labels))


def figures(chosen: list[Case]) -> dict[str, float]:
    """How well the probability, and a flat cosine, tell whether the best hit of each case is relevant."""
    cosine = np.array([case.scores[case.top] for case in chosen])
    label = np.array([bool(case.relevant[case.top]) for case in chosen])
    chance = np.array([_chances(case)[case.top] for case in chosen])
    answered = np.array([case.answered for case in chosen])
    level = best_cutoff(cosine, label)
    return {
        "queries": len(chosen),
        "auc": auc(chance, label),
        "auc_cosine": auc(cosine, label),
        "ece": calibration_error(chance, label),
        "brier": float(np.mean((chance - label) ** 2)),
        "absent_shown": float(np.mean(chance[~answered] >= 0.5)),
        "present_kept": float(np.mean(chance[label] >= 0.5)),
        "cutoff_in_hindsight": level,
        "absent_shown_cosine": float(np.mean(cosine[~answered] >= level)),
        "present_kept_cosine": float(np.mean(cosine[label] >= level)),
    }


def best_cutoff(cosine: np.ndarray, label: np.ndarray) -> float:
    """The flat cosine that decides the most of these very cases rightly."""
    levels = np.unique(cosine)
    right = [np.mean((cosine >= level) == label) for level in levels]
    return float(levels[int(np.argmax(right))])


def cutoff_elsewhere(chosen: list[Case], level: float) -> dict[str, float]:
    """What a flat cosine cutoff that was found for other queries does on these."""
    top = np.array([case.scores.max() for case in chosen])
    label = np.array([bool(case.relevant[case.top]) for case in chosen])
    answered = np.array([case.answered for case in chosen])
    return {
        "absent_shown": float(np.mean(top[~answered] >= level)),
        "present_kept": float(np.mean(top[label] >= level)),
    }


def share_figures(chosen: list[Case]) -> dict[str, float]:
    """Of subjects that fill a part of the collection: how much of them is shown, and what with them."""
    shown = [_chances(case) >= 0.5 for case in chosen]
    right = np.array([(s & c.relevant).sum() for s, c in zip(shown, chosen, strict=True)])
    total = np.array([s.sum() for s in shown])
    return {
        "queries": len(chosen),
        "something_shown": float(np.mean(total > 0)),
        "recall": float(np.mean(right / [c.relevant.sum() for c in chosen])),
        "precision": float(right.sum() / max(total.sum(), 1)),
    }


def _chances(case: Case) -> np.ndarray:
    return calibration.tail_relevance(case.scores, case.scores, len(case.scores))


def normalised(vectors: Vectors, bank: np.ndarray) -> Vectors:
    """Picture-side normalisation, for pictures that score high on everything (hubs).

    The mean over a bank of other queries is taken from a picture's score: one more component of the vectors.
    """
    mean_N1 = (vectors.pictures @ bank.T).mean(axis=1, keepdims=True)

    def longer(text: np.ndarray) -> np.ndarray:
        return np.concatenate([text, -np.ones((*text.shape[:-1], 1), dtype=text.dtype)], axis=-1)

    return Vectors(
        pictures=np.hstack([vectors.pictures, mean_N1]),
        names=longer(vectors.names),
        kinds=longer(vectors.kinds),
    )


def report(vectors: Vectors, subjects: list[str]) -> dict[str, Any]:
    """Everything that is written down of one model."""
    every = list(cases(vectors, subjects))
    held_out = [case for case in every if not case.fit]
    whole = [case for case in held_out if case.size == SIZES[-1]]
    by = {
        setting: figures([c for c in whole if c.setting == setting])
        for setting in ("strict", "kind", "kinds")
    }
    level = by["kind"]["cutoff_in_hindsight"]
    return {
        "fitted": fit([case for case in every if case.fit and case.setting != "strict"]),
        "settings": by,
        "sizes": {n: figures([c for c in held_out if c.size == n and c.setting == "kind"]) for n in SIZES},
        "phrasings": {
            text: {
                "calibrated": figures(one := [c for c in whole if c.setting == "kind" and c.phrasing == p]),
                "flat": cutoff_elsewhere(one, level),
            }
            for p, text in enumerate(PHRASINGS)
        },
        "kinds_flat": cutoff_elsewhere([c for c in whole if c.setting == "kinds"], level),
        "shares": {s: share_figures([c for c in held_out if c.setting == f"share {s}"]) for s in SHARES},
    }


def untrained(size: int = 250) -> Any:
    """A CLIP ViT-B/32 as it is before training: nothing is relevant to anything."""
    from vision.backbones.open_clip_build import build_open_clip, describe_clip

    architecture, preprocess = describe_clip("ViT-B-32")
    return build_open_clip(
        architecture, name="clip:untrained", preprocess=preprocess, weights=None, seed=size
    )


def something_shown(vectors: Vectors) -> dict[str, float]:
    """Names and kinds in all phrasings: how many show a picture at all, and the mean best probability."""
    texts = np.concatenate([vectors.names.reshape(-1, vectors.names.shape[-1]), *vectors.kinds])
    scores_QN = texts @ vectors.pictures.T
    best = np.array([calibration.tail_relevance([s.max()], s, len(s))[0] for s in scores_QN])
    return {"queries": len(best), "shown": float(np.mean(best >= 0.5)), "mean_best": float(np.mean(best))}


def main() -> None:
    """Embed, measure, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", default="embedded:lite")
    parser.add_argument("--cache", type=Path, help="keep the vectors here between runs")
    parser.add_argument("--skip-untrained", action="store_true")
    options = parser.parse_args()
    photos = sorted(options.photos.glob("*.JPEG"))
    subjects = [photo.stem.split("_", 1)[1].replace("_", " ") for photo in photos]
    vectors = _cached(options.cache, lambda: embed(_load(options.model), photos, subjects))
    found = {
        "command": shlex.join(
            [
                "python",
                "-m",
                "benchmarks.relevance",
                "--photos",
                str(options.photos),
                "--model",
                options.model,
            ]
        ),
        "model": options.model,
        **report(vectors, subjects),
    }
    bank = vectors.names[:, ::2].reshape(-1, vectors.names.shape[-1])
    found["picture_side"] = report(normalised(vectors, bank), subjects)["settings"]
    if not options.skip_untrained:
        found["untrained"] = something_shown(embed(untrained(), photos, subjects))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "relevance.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "relevance.md").write_text(markdown(found))
    print(markdown(found))


def _load(name: str) -> Any:
    from vision.backbones import load_backbone

    return load_backbone(name)


def _cached(path: Path | None, make: Callable[[], Vectors]) -> Vectors:
    if path is None or not path.exists():
        vectors = make()
        if path is not None:
            np.savez(path, **vars(vectors))
        return vectors
    with np.load(path) as stored:
        return Vectors(**stored)


HEADS = (
    "AUC, ours", "AUC, cosine", "ECE", "Brier",
    "absent shown", "present kept", "absent shown, flat", "present kept, flat",
)  # fmt: skip
KEYS = (
    "auc", "auc_cosine", "ece", "brier",
    "absent_shown", "present_kept", "absent_shown_cosine", "present_kept_cosine",
)  # fmt: skip


def markdown(found: dict[str, Any]) -> str:
    """The tables as Markdown."""
    fitted, level = found["fitted"], found["settings"]["kind"]["cutoff_in_hindsight"]
    lines = [
        "# Probability of relevance",
        "",
        f"`{found['command']}`: {found['model']}, held-out half. *Flat* is the one cosine cutoff that decides"
        " most of the very same best hits rightly, found in hindsight; ours is cut at 0.5 and knows the"
        " collection only. *Absent shown*: share of queries without an answer that show a picture; *present"
        " kept*: share of relevant best hits that are shown.",
        "",
        f"Refitted on the other half: offset {fitted['offset']:.2f}, slope {fitted['slope']:.2f}"
        f" (in the code: {calibration.OFFSET}, {calibration.SLOPE}).",
        "",
        *_table("setting, 250 pictures", found["settings"]),
        *_table("pictures in the collection", found["sizes"]),
        *_table("phrasing", {k: v["calibrated"] for k, v in found["phrasings"].items()}),
        f"The flat cutoff that is best for all names, {level:.3f}, on each sort of query:",
        "",
        "| queries | absent shown | present kept |",
        "|---|---|---|",
    ]
    elsewhere = {k: v["flat"] for k, v in found["phrasings"].items()} | {"kinds": found["kinds_flat"]}
    lines += [f"| {k} | {v['absent_shown']:.3f} | {v['present_kept']:.3f} |" for k, v in elsewhere.items()]
    lines += [
        "",
        "| subject's share of the collection | something shown | recall | precision |",
        "|---|---|---|---|",
    ]
    for share, v in found["shares"].items():
        lines.append(f"| {share} | {v['something_shown']:.2f} | {v['recall']:.2f} | {v['precision']:.2f} |")
    lines += ["", "With picture-side normalisation (not used):", ""]
    lines += _table("setting, 250 pictures", found["picture_side"])
    if "untrained" in found:
        none = found["untrained"]
        lines.append(
            f"Untrained CLIP ViT-B/32, where nothing is relevant: {none['shown']:.1%} of {none['queries']}"
            f" queries show a picture; mean probability of the best hit {none['mean_best']:.2f}."
        )
    return "\n".join(lines) + "\n"


def _table(first: str, rows: dict[Any, dict[str, float]]) -> list[str]:
    lines = [f"| {first} | " + " | ".join(HEADS) + " |", "|---" * (len(HEADS) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[key]:.3f}" for key in KEYS) + " |" for name, row in rows.items()
    ]
    return [*lines, ""]


if __name__ == "__main__":
    main()
