"""Finds preprocessed runs in an fMRIPrep derivative, of new and of old naming: folder -> list of RunFiles.

New names (fMRIPrep >= 1.4): `sub-01_task-rest_space-X_desc-preproc_bold.nii.gz`, `…_desc-brain_mask.nii.gz`,
`sub-01_task-rest_desc-confounds_timeseries.tsv` (before 20.2: `…_desc-confounds_regressors.tsv`).
Old names (1.0, 1.1): `sub-01_task-rest_bold_space-X_preproc.nii.gz`, `…_brainmask.nii.gz`,
`sub-01_task-rest_bold_confounds.tsv`.
Only names are read here; no image is opened.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from data.errors import BadFileError

Role = Literal["bold", "mask", "confounds"]
EXTENSIONS = (".nii.gz", ".nii", ".tsv")
# What may differ between two images of one scan; everything else in a name tells one scan from another.
VARIANT = ("space", "res", "den", "desc", "echo")
SKIPPED_FOLDERS = {"figures", "log", "logs", "sourcedata", "work"}
EXPECTED = {
    "bold": "a …desc-preproc_bold.nii.gz (or …_preproc.nii.gz)",
    "mask": "a …desc-brain_mask.nii.gz (or …_brainmask.nii.gz)",
    "confounds": "a …desc-confounds_timeseries.tsv (or …_regressors.tsv, …_bold_confounds.tsv)",
}


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The files of one run in one space.

    Attributes:
        entities: every key and value of the name, without `desc` ("sub": "01", "task": "rest", …).
        bold: the preprocessed run, or None.
        mask: its brain mask, or None.
        confounds: its confounds table, or None.
        missing: one line for each part that is not there, with the reason.
    """

    entities: dict[str, str] = field(default_factory=dict)
    bold: Path | None = None
    mask: Path | None = None
    confounds: Path | None = None
    missing: tuple[str, ...] = ()

    @property
    def participant_id(self) -> str:
        """`sub-XX`, as participants.tsv writes it."""
        return f"sub-{self.entities['sub']}"

    @property
    def space(self) -> str | None:
        """The space of the name, or None for a run that carries none."""
        return self.entities.get("space")

    @property
    def run_id(self) -> str:
        """The name of the scan without its variant: `sub-01_ses-1_task-rest_run-01`."""
        return "_".join(f"{k}-{v}" for k, v in self.entities.items() if k not in VARIANT)

    @property
    def usable(self) -> bool:
        """Whether both the run and its mask are there; confounds are needed only by some recipes."""
        return self.bold is not None and self.mask is not None


def parse_entities(name: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """Split a BIDS file name into its entities and its other words (suffixes), in order.

    `sub-01_task-rest_bold_space-T1w_preproc.nii.gz` becomes
    `({"sub": "01", "task": "rest", "space": "T1w"}, ("bold", "preproc"))`.
    """
    stem = next((name.removesuffix(end) for end in (*EXTENSIONS, ".json") if name.endswith(end)), name)
    entities: dict[str, str] = {}
    words: list[str] = []
    for piece in stem.split("_"):
        key, dash, value = piece.partition("-")
        if dash and value:
            entities[key] = value
        else:
            words.append(piece)
    return entities, tuple(words)


def find_runs(
    derivatives: str | Path, *, task: str | None = None, space: str | None = None
) -> list[RunFiles]:
    """All runs under a derivatives folder, sorted by name; what a run lacks stands in its `missing`.

    Args:
        derivatives: an fMRIPrep output folder (or a dataset that contains one).
        task: only this task ("rest"); None takes every task.
        space: only this space ("MNI152NLin2009cAsym"); None takes every space, one RunFiles for each.

    Raises:
        BadFileError: the folder does not exist.
    """
    root = Path(derivatives)
    if not root.is_dir():
        raise BadFileError(
            "derivatives", must_be="a folder", got="nothing there", do="give the fMRIPrep output", path=root
        )
    scans: dict[_Key, _Scan] = defaultdict(_Scan)
    for path in _walk(root):
        entities, words = parse_entities(path.name)
        role = _role(path, entities, words)
        if role is None or not {"sub", "task"} <= entities.keys():
            continue
        if task is not None and entities["task"] != task:
            continue
        scan = scans[_key(entities, VARIANT)]
        if role == "confounds":
            scan.confounds.append(path)
        else:
            scan.images[_key(entities, ("desc",))][role].append(path)
    runs = [run for key, scan in scans.items() for run in _runs_of(dict(key), scan, space)]
    return sorted(runs, key=lambda run: (run.run_id, sorted(run.entities.items())))


_Key = tuple[tuple[str, str], ...]


@dataclass
class _Scan:
    images: dict[_Key, dict[str, list[Path]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    confounds: list[Path] = field(default_factory=list)


def _key(entities: dict[str, str], without: tuple[str, ...]) -> _Key:
    return tuple((k, v) for k, v in entities.items() if k not in without)


def _walk(root: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(root):
        below[:] = sorted(name for name in below if name not in SKIPPED_FOLDERS and not name.startswith("."))
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(EXTENSIONS))


def _role(path: Path, entities: dict[str, str], words: tuple[str, ...]) -> Role | None:
    desc = entities.get("desc")
    if path.suffix == ".tsv":
        new = desc == "confounds" and words[-1:] in {("timeseries",), ("regressors",)}
        return "confounds" if new or words == ("bold", "confounds") else None
    if (desc == "preproc" and words == ("bold",)) or words == ("bold", "preproc"):
        return "bold"
    if (desc == "brain" and words == ("mask",)) or words == ("bold", "brainmask"):
        return "mask"
    return None


def _runs_of(scan_entities: dict[str, str], scan: _Scan, space: str | None) -> Iterator[RunFiles]:
    # A scan of which only the confounds are left is still reported: somebody expects it.
    lonely: dict[_Key, dict[str, list[Path]]] = {_key(scan_entities, ()): {}} if not scan.images else {}
    for key, found in {**scan.images, **lonely}.items():
        entities = dict(key)
        if found and space is not None and entities.get("space") != space:
            continue
        parts: dict[str, Path | None] = {}
        missing: list[str] = []
        for role, paths in (
            ("bold", found.get("bold", [])),
            ("mask", found.get("mask", [])),
            ("confounds", scan.confounds),
        ):
            parts[role], reason = _only(paths, EXPECTED[role])
            missing += [f"{role}: {reason}"] if reason else []
        yield RunFiles(entities=entities, missing=tuple(missing), **parts)


def _only(paths: list[Path], expected: str) -> tuple[Path | None, str]:
    """The one file of a part, or the reason why there is none to use."""
    if not paths:
        return None, f"no such file; expected {expected}"
    if len(paths) > 1:
        return None, f"{len(paths)} files of one name ({', '.join(path.name for path in paths)}); keep one"
    if not paths[0].exists():
        return None, f"{paths[0].name} is a link to content that is not here; fetch it (`datalad get`)"
    return paths[0], ""
