"""What `neuro train` leaves and `neuro predict` needs: a folder with a trained model and all it was made by.

RUN/run.json   recipe, acquisition, people and labels; written last: a run that has it is whole
RUN/model/     the classifier (see `neuro.classifier.folder`), its trunk as `local:RUN/model/backbone`
Files of the training (see `neuro.training.keeping`) may lie beside these, how much each weight matters
(`neuro.continual.importance`), and calibration and novelty (`neuro.calibration.saved`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from data.caches.cache import Cache
from data.cleaning.as_given import recipe_of
from data.cleaning.recipe import Recipe
from data.errors import LeakError
from data.writing import require_new_or_empty, write_whole
from neuro.calibration.calibration import Calibration
from neuro.calibration.novelty import Novelty
from neuro.calibration.saved import CALIBRATION, NOVELTY, read_calibration, read_novelty
from neuro.classifier.folder import load_classifier, save_classifier
from neuro.classifier.parkinson import ParkinsonClassifier
from neuro.model.encoder_folder import MODEL
from neuro.model.model_folder import CLASSIFIER, damage_told, require_format
from neuro.tokens import ParcelSpec, SliceSpec, TokenSpec
from neuro.training.keeping import FILES
from vision.backbones import load_backbone
from vision.backbones.registry import resolve_device

RUN = FILES.finished
AGAIN = "#"  # before the number of a second run of one name, of another cohort


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """A trained classifier and the recipe, cut and acquisition that it was trained on.

    Attributes:
        classifier: fitted.
        recipe: how runs must be cleaned.
        tokens: how runs must be cut.
        tr: repetition time of the training runs, in seconds.
        space: of the training runs, or "native".
        atlas_digest: of the atlas whose regions are the tokens; None for other kinds.
        slice_fingerprint: of the model that looked at slices; None for other kinds.
        facts: the whole of run.json.
        digest: of all that a prediction hangs on: model, recipe, calibration and novelty.
        calibration: what makes probabilities of its logits; None where it was trained without.
        novelty: what its scans were like; None where that is not known.
    """

    classifier: ParkinsonClassifier
    recipe: Recipe
    tokens: TokenSpec
    tr: float
    space: str
    atlas_digest: str | None
    slice_fingerprint: str | None
    facts: dict[str, Any]
    digest: str
    calibration: Calibration | None = None
    novelty: Novelty | None = None


def save_run(classifier: ParkinsonClassifier, cache: Cache, out: str | Path) -> Path:
    """Write a fitted classifier, and what it was trained on, whole or not at all.

    Args:
        classifier: fitted to runs of `cache`.
        cache: the cohort.
        out: a new or empty folder, or that of this very training.

    Raises:
        ParameterError: the folder holds something else, or a finished run.
    """
    folder = Path(out)
    if (folder / RUN).exists() or not (folder / FILES.begun).is_file():
        require_new_or_empty(folder)
    begun = folder.exists()
    try:
        shutil.rmtree(folder / MODEL, ignore_errors=True)  # of an end that was broken off
        save_classifier(classifier, folder / MODEL)
        write_whole(folder / RUN, json.dumps(_facts(classifier, cache), indent=1) + "\n")
    except BaseException:
        shutil.rmtree(folder / MODEL if begun else folder, ignore_errors=True)
        raise
    return folder


def load_run(path: str | Path, device: str = "auto") -> TrainedRun:
    """Read what `save_run` wrote.

    Raises:
        BadFileError: the folder is no run, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    folder = Path(path)
    resolve_device(device)  # a wrong device is not the folder's fault
    must_be = "a folder that `neuro train` wrote"
    with damage_told("run", must_be=must_be, do="name another, or train again", path=folder):
        return _load(folder, device)


def _load(folder: Path, device: str) -> TrainedRun:
    facts = json.loads((folder / RUN).read_text(encoding="utf-8"))
    require_format(facts, CLASSIFIER.version)
    classifier = load_classifier(folder / MODEL, device)
    return TrainedRun(
        classifier=classifier,
        recipe=recipe_of(facts["recipe"]),
        tokens=classifier.spec_,
        tr=float(facts["tr"]),
        space=facts["space"],
        atlas_digest=facts["atlas_digest"],
        slice_fingerprint=facts["slice_fingerprint"],
        facts=facts,
        digest=_digest(folder),
        calibration=read_calibration(folder),
        novelty=read_novelty(folder),
    )


def _digest(folder: Path) -> str:
    """Of the files that a prediction hangs on, wherever the folder lies; 16 hex digits."""
    beside = [folder / name for name in (RUN, CALIBRATION, NOVELTY)]
    files = [path for path in (*beside, *sorted((folder / MODEL).rglob("*"))) if path.is_file()]
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _facts(classifier: ParkinsonClassifier, cache: Cache) -> dict[str, Any]:
    spec = classifier.spec_
    return {
        "format": CLASSIFIER.version,
        "fingerprint": classifier.model_.encoder.backbone.fingerprint,
        "recipe": asdict(cache.recipe),
        "recipe_identity": cache.identity,
        "tr": float(cache.table["tr"].median()),
        "space": str(cache.table["space"].iloc[0]),  # a cohort has one
        "atlas_digest": cache.parcels(0, spec.atlas).digest if isinstance(spec, ParcelSpec) else None,
        "slice_fingerprint": load_backbone(spec.backbone).fingerprint
        if isinstance(spec, SliceSpec)
        else None,
        "classes": classifier.classes_.tolist(),
        "participants": sorted(set(cache.table["participant_id"])),
        "people": sorted(set(cache.table["person"])),
        "scans": scans(cache),
    }


def scans(cache: Cache) -> dict[str, list[float | None]]:
    """Run -> what tells it from another of the same name: voxels, frames, and mean displacement if known."""
    columns = cache.table[["run_id", "n_voxels", "n_frames", "fd_mean"]].to_numpy(object)
    return {
        str(run): [int(voxels), int(frames), None if fd != fd else round(float(fd), 6)]
        for run, voxels, frames, fd in columns
    }


def with_scans(facts: Mapping[str, Any], cache: Cache) -> dict[str, list[float | None]]:
    """The scans of a run and those of another cohort, which may have runs of the same names (`NAME#2`)."""
    both = dict(facts["scans"])
    for run, scan in scans(cache).items():
        names = (run if number == 1 else f"{run}{AGAIN}{number}" for number in count(1))
        both[next(name for name in names if name not in both)] = scan
    return both


def seen_scans(facts: Mapping[str, Any], cache: Cache) -> list[str]:
    """Which runs of a cache a trained run was trained on, by name and by what tells them from others."""
    known = {(run.partition(AGAIN)[0], tuple(scan)) for run, scan in facts.get("scans", {}).items()}
    return [run for run, scan in scans(cache).items() if (run, tuple(scan)) in known]


def runs_seen_by(folder: str | Path, cache: Cache) -> list[str]:
    """Runs of a cohort that a trained run knows the labels of; none where the folder is no trained run."""
    try:
        facts = json.loads((Path(folder) / RUN).read_text(encoding="utf-8"))
        return seen_scans(facts, cache)
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # what is wrong with the folder is told where it is loaded


def assert_unseen(folder: str | Path, cache: Cache) -> None:
    """Raise where an encoder to begin with has seen the labels of people of a cohort that it is tested on.

    Pretraining sees no labels, and may have seen them.

    Raises:
        LeakError: `neuro train` made it, on runs of this cohort.
    """
    seen = runs_seen_by(folder, cache)
    if seen:
        raise LeakError(
            "encoder to begin with",
            must_be="trained on other people than those that it is tested on",
            got=f"one trained on {len(seen)} of these runs ({', '.join(sorted(seen)[:3])}, …)",
            do="pretrain without labels (neuro pretrain), or train on another cohort",
            path=folder,
        )
