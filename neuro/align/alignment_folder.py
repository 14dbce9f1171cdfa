"""What `neuro align` leaves.

RUN/results.json    every figure with its interval, folds, scores, options, command; that it is exploratory
RUN/sentences.tsv   what was said of each run
RUN/scans/          the runs as they were put among the words, for `vision index --from-embeddings`
RUN/run.json, RUN/encoder/, RUN/head.safetensors   the model of everybody (see `aligned_folder`)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from data.caches.cache import Cache
from data.writing import disk_told, whole_folder
from neuro.align.aligned_folder import save_aligned
from neuro.align.config import AlignConfig
from neuro.align.scans import write_scans
from neuro.align.sentences import DiagnosisWords
from neuro.align.study import Alignment
from neuro.classifier.run_folder import scans

RESULTS, SENTENCES, SCANS = "results.json", "sentences.tsv", "scans"
EXPLORATORY = (
    "Exploratory: a head between a brain encoder and a text tower that was never shown a brain. The diagnosis"
    " stands in the sentences it learned from; what it says is no more than a classifier says, in words."
    " For research, not for diagnosis."
)


def write_alignment(
    alignment: Alignment, cache: Cache, config: AlignConfig, out: str | Path, *, command: str
) -> Path:
    """Write an alignment of a cohort, and its model, into a new or empty folder, whole or not at all.

    Raises:
        ParameterError: the folder holds something.
        DiskError: the disk is full, or the place is not writable.
    """
    assert alignment.model is not None
    with disk_told(out), whole_folder(out) as draft:
        about = {"command": command, "options": config.identity()}
        _write_figures(alignment, cache, draft, config.sentences.words, about, seed=config.seed)
        save_aligned(alignment.model, alignment.tokens, draft, _facts(alignment, cache, config))
    return Path(out)


def write_applied(
    alignment: Alignment,
    cache: Cache,
    words: DiagnosisWords,
    out: str | Path,
    *,
    aligned: str | Path,
    command: str,
) -> Path:
    """Write what a model that was aligned before makes of another cohort, whole or not at all.

    Raises:
        ParameterError: the folder holds something.
        DiskError: the disk is full, or the place is not writable.
    """
    with disk_told(out), whole_folder(out) as draft:
        about = {"command": command, "aligned": str(aligned)}
        _write_figures(alignment, cache, draft, words, about, seed=0)
    return Path(out)


def _write_figures(
    alignment: Alignment,
    cache: Cache,
    draft: Path,
    words: DiagnosisWords,
    about: Mapping[str, Any],
    *,
    seed: int,
) -> None:
    said = alignment.predictions
    content = {
        "exploratory": EXPLORATORY,
        **about,
        "recipe_identity": cache.identity,
        "text": {"model": alignment.tower.name, "fingerprint": alignment.tower.fingerprint},
        "people": len(set(said.people)),
        **alignment.figures(seed),
        "runs": [
            {"run": run, "label": int(label), "fold": int(fold), "score": float(score)}
            for run, label, fold, score in zip(
                said.run_ids, said.labels, said.folds[0], said.scores[0], strict=True
            )
        ],
    }
    (draft / RESULTS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    rows = [
        (run, text)
        for run, own in zip(said.run_ids, alignment.bank.of_run, strict=True)
        for at in own
        for text in alignment.bank.texts[at]
    ]
    table = pd.DataFrame(rows, columns=["run", "sentence"])
    table.to_csv(draft / SENTENCES, sep="\t", index=False)
    write_scans(cache, alignment.vectors_NE, alignment.tower, alignment.origin, words, draft / SCANS)


def _facts(alignment: Alignment, cache: Cache, config: AlignConfig) -> dict[str, Any]:
    return {
        "text": alignment.tower.name,
        "text_fingerprint": alignment.tower.fingerprint,
        "sentences": asdict(config.sentences),
        "recipe_identity": cache.identity,
        "people": sorted(set(cache.table["person"])),
        "scans": scans(cache),  # by which a later test on the same runs is refused
    }
