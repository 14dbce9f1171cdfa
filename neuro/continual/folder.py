"""What `neuro update` leaves.

NEW_RUN/update.json, update.md, update.png   what was found and decided, always
NEW_RUN/model/, run.json                     where the update was accepted: a run as `neuro train` leaves it
NEW_RUN/calibration.json, novelty.json       its own (see `neuro.continual.calibrated`)
NEW_RUN/fisher.safetensors                   the importance of its weights to old and new runs, if known
A refused update leaves no model, so that nobody can predict with it by mistake.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.caches.cache import Cache
from data.writing import whole_folder
from neuro.calibration.calibration import Calibration
from neuro.calibration.novelty import Novelty
from neuro.calibration.saved import write_calibration, write_novelty
from neuro.classifier import ParkinsonClassifier
from neuro.classifier.folder import save_classifier
from neuro.classifier.run_folder import RUN, scans, with_scans
from neuro.continual.figures import write_figure
from neuro.continual.importance import Importance, save_importance
from neuro.continual.outcome import Outcome, as_json
from neuro.continual.report import FIGURE, markdown
from neuro.model.encoder_folder import MODEL

REPORT, FACTS = "update.md", "update.json"
# What holds for the parent's scans holds for the update's: they were checked to be alike. All else that a run
# may say of itself was measured on the parent, and is not taken over.
TAKEN_OVER = (
    "format", "recipe", "recipe_identity", "tr", "space", "atlas_digest", "slice_fingerprint", "classes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Accepted:
    """A model that may be used.

    Attributes:
        classifier: updated.
        importance: of its weights, if known.
        calibration: of its scores.
        novelty: what scans must be like; None of too few people.
        parent: run.json of the run that it was.
        added: the cohort that came in.
    """

    classifier: ParkinsonClassifier
    importance: Importance | None
    calibration: Calibration
    novelty: Novelty | None
    parent: dict[str, Any]
    added: Cache


def write_update(outcome: Outcome, accepted: Accepted | None, out: str | Path) -> Path:
    """Write everything, whole or not at all.

    Args:
        outcome: what was found.
        accepted: the model; None where it was refused.
        out: a new or empty folder.

    Raises:
        ParameterError: the folder holds something.
    """
    found = as_json(outcome)
    with whole_folder(out) as draft:
        (draft / FACTS).write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        (draft / REPORT).write_text(markdown(outcome), encoding="utf-8")
        write_figure(outcome, draft / FIGURE)
        if accepted is not None:
            save_classifier(accepted.classifier, draft / MODEL)
            if accepted.importance is not None:
                save_importance(accepted.importance, draft)
            write_calibration(accepted.calibration, draft)
            if accepted.novelty is not None:
                write_novelty(accepted.novelty, draft)
            facts = json.dumps(_facts(accepted, found), indent=1)
            (draft / RUN).write_text(facts + "\n", encoding="utf-8")
    return Path(out)


def _facts(accepted: Accepted, found: dict[str, Any]) -> dict[str, Any]:
    parent, table = accepted.parent, accepted.added.table
    both = {
        name: sorted({*parent[name], *map(str, table[column])})
        for name, column in (("participants", "participant_id"), ("people", "person"))
    }
    kept = ("accepted", "strategy", "margins", "parent", "added", "update", "not_ruled_out", "version")
    return {
        **{name: parent[name] for name in TAKEN_OVER},
        "fingerprint": accepted.classifier.model_.encoder.backbone.fingerprint,
        **both,
        "scans": with_scans(parent, accepted.added),
        "updated": {name: found[name] for name in kept},
    }


def digest_of_cohort(cache: Cache) -> str:
    """Of who was scanned, where, with which diagnosis, and what tells each scan from another."""
    table = cache.table[["run_id", "person", "site", "label"]].to_csv(index=False)
    return hashlib.sha256((cache.identity + table + json.dumps(scans(cache))).encode()).hexdigest()[:16]
