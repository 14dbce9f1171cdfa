"""Finds preprocessed runs in a derivative of fMRIPrep or XCP-D, by names alone: folder -> list of RunFiles.

`data.scans.bids_names` knows the names of all versions; no image is opened here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.errors import BadFileError
from data.scans.bids_folder import files_below, linked_derivatives
from data.scans.bids_names import DENOISED, EXTENSIONS, SPATIAL, VARIANT, Part, Wanted, part_of, wanted_space

EXPECTED = {
    "bold": "a …desc-preproc_bold.nii.gz (or …_preproc.nii.gz, or XCP-D's …desc-denoised_bold.nii.gz)",
    "mask": "a …desc-brain_mask.nii.gz (or …_brainmask.nii.gz)",
    "confounds": "a …desc-confounds_timeseries.tsv (or …_regressors.tsv, …_bold_confounds.tsv)",
}


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """The files of one run in one space, processed in one way.

    Attributes:
        entities: every key and value of the name, without `desc` ("sub": "01", "task": "rest", …).
        bold: the preprocessed run, or None.
        mask: its brain mask, or None.
        confounds: its confounds table (of a denoised run: its motion table), or None.
        missing: one line for each part that is not there, with the reason.
        desc: how it was processed: "preproc", or a word of `data.scans.bids_names.DENOISED`.
        notes: what a careful reader should know, one sentence each.
        dataset: which of several derivatives it is of, or "".
        tr: repetition time in seconds that a table states for it, or None for that of its files.
        computed_mask: whether its brain mask is to be computed (`data.scans.epi_mask`) for want of one.
    """

    entities: dict[str, str] = field(default_factory=dict)
    bold: Path | None = None
    mask: Path | None = None
    confounds: Path | None = None
    missing: tuple[str, ...] = ()
    desc: str = "preproc"
    notes: tuple[str, ...] = ()
    dataset: str = ""
    tr: float | None = None
    computed_mask: bool = False

    @property
    def participant_id(self) -> str:
        """`sub-XX`, as participants.tsv writes it."""
        return f"sub-{self.entities['sub']}"

    @property
    def session(self) -> str:
        """The session of the name, or ""."""
        return self.entities.get("ses", "")

    @property
    def space(self) -> str | None:
        """The space of the name, or None for a run that carries none."""
        return self.entities.get("space")

    @property
    def run_id(self) -> str:
        """The name of the scan without its variant: `sub-01_ses-1_task-rest_run-01`."""
        name = "_".join(f"{k}-{v}" for k, v in self.entities.items() if k not in VARIANT)
        return f"{self.dataset}_{name}" if self.dataset else name

    @property
    def denoised(self) -> bool:
        """Whether confounds were taken out of it already."""
        return self.desc in DENOISED

    @property
    def usable(self) -> bool:
        """Whether both the run and its mask are there; confounds are needed only by some recipes."""
        return self.bold is not None and (self.mask is not None or self.computed_mask)


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

    A scan in two spaces, resolutions, echoes or ways of processing gives one RunFiles for each. XCP-D writes
    no brain masks: they are then looked for in the derivative that its dataset_description.json links to, or
    in a folder `fmriprep` beside it, and `notes` says so.

    Args:
        derivatives: the output folder of fMRIPrep or XCP-D (or a dataset that contains one).
        task: only this task ("rest"); None takes every task.
        space: only this space ("MNI152NLin2009cAsym", "MNI152NLin6Asym:res-2", "native"); None takes every
            space.

    Raises:
        BadFileError: the folder does not exist, or a folder in it cannot be read.
        ParameterError: the space is not written so.
    """
    root, wanted = Path(derivatives), wanted_space(space)
    if not root.is_dir():
        raise BadFileError(
            "derivatives", must_be="a folder", got="nothing there", do="give the fMRIPrep output", path=root
        )
    scans: dict[_Key, _Scan] = defaultdict(_Scan)
    for path, entities, part in _parts(root, task):
        scans[_key(entities, VARIANT)].add(path, entities, part)
    if any(scan.lacks_masks for scan in scans.values()):
        _lend_masks(scans, root, task)
    runs = [run for scan in scans.values() for run in scan.runs(wanted)]
    return sorted(runs, key=lambda run: (run.run_id, sorted(run.entities.items()), run.desc))


_Key = frozenset[tuple[str, str]]
_Images = dict[_Key, list[Path]]


def _key(entities: dict[str, str], without: Iterable[str], only: Iterable[str] | None = None) -> _Key:
    return frozenset((k, v) for k, v in entities.items() if k not in without and (only is None or k in only))


def _images() -> _Images:
    return defaultdict(list)


@dataclass
class _Scan:
    """The files of one scan as they are found; `images` and masks by where they lie (space, res, echo, …)."""

    entities: dict[str, str] = field(default_factory=dict)
    images: dict[str, _Images] = field(default_factory=lambda: defaultdict(_images))
    masks: _Images = field(default_factory=_images)
    borrowed: _Images = field(default_factory=_images)
    confounds: _Images = field(default_factory=_images)
    motion: list[Path] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)

    def add(self, path: Path, entities: dict[str, str], part: Part) -> None:
        if not self.entities:
            self.entities = {k: v for k, v in entities.items() if k not in VARIANT}
        place = _key(entities, (), SPATIAL)
        match part.role:
            case "bold":
                self.images[part.desc][place].append(path)
            case "mask":
                self.masks[place].append(path)
            case "confounds":
                self.confounds[place].append(path)
            case "motion":
                self.motion.append(path)
            case other:
                self.others[other] = path.name

    @property
    def lacks_masks(self) -> bool:
        return bool(self.images) and not self.masks

    def runs(self, wanted: Wanted) -> Iterator[RunFiles]:
        places = [(desc, place) for desc, images in self.images.items() for place in images]
        # A scan of which only the mask or the confounds are left is still reported: somebody expects it.
        places += [("preproc", place) for place in self.masks if not self.images]
        fitting = [(desc, place) for desc, place in places if wanted.fits(dict(place), desc)]
        for desc, place in fitting:
            yield self._run(desc, place)
        if not fitting:
            yield self._none(places, wanted)

    def _run(self, desc: str, place: _Key) -> RunFiles:
        bold, no_bold = _only(self.images.get(desc, {}).get(place, []), self._no_bold())
        mask, no_mask, note = self._mask(place)
        confounds, no_confounds = self._table(desc)
        lacking = {"bold": no_bold, "mask": no_mask, "confounds": no_confounds}
        return RunFiles(
            entities=self.entities | {k: v for k in SPATIAL for key, v in place if key == k},
            bold=bold,
            mask=mask,
            confounds=confounds,
            missing=tuple(f"{role}: {reason}" for role, reason in lacking.items() if reason),
            desc=desc,
            notes=(note,) if note else (),
        )

    def _none(self, places: list[tuple[str, _Key]], wanted: Wanted) -> RunFiles:
        """A scan without any image that is wanted."""
        if not places:
            return self._run("preproc", frozenset())
        there = sorted({_in_words(desc, place) for desc, place in places})
        return RunFiles(
            entities=self.entities,
            missing=(f"bold: none in the space {wanted.text}; there is {', '.join(there)}",),
        )

    def _mask(self, place: _Key) -> tuple[Path | None, str, str]:
        """The mask, or why there is none; and a note where it is not the run's very own."""
        for masks, whose in ((self.masks, ""), (self.borrowed, "of another derivative, ")):
            for dropped in ((), ("echo",), ("echo", "res"), ("echo", "res", "den")):
                paths = masks.get(frozenset((k, v) for k, v in place if k not in dropped), [])
                if paths:
                    mask, reason = _only(paths, EXPECTED["mask"])
                    own = not dropped and not whose
                    return mask, reason, "" if own or reason else f"its mask is {whose}{paths[0]}"
        return (*_only([], EXPECTED["mask"]), "")

    def _table(self, desc: str) -> tuple[Path | None, str]:
        """The table of confounds: that without an echo in its name, or else that of the first echo."""
        if desc in DENOISED:
            # Of a filtered and an unfiltered table the unfiltered one tells how much a person moved.
            plain = [path for path in self.motion if "_desc-" not in path.name] or self.motion
            return (None, "") if not plain else _only(plain, "a …_motion.tsv")
        if not self.confounds:
            return _only([], EXPECTED["confounds"])
        first = min(self.confounds, key=lambda place: dict(place).get("echo", ""))
        return _only(self.confounds[first], EXPECTED["confounds"])

    def _no_bold(self) -> str:
        kinds = {"raw": "the raw run, which is not preprocessed", "surface": "surfaces (CIFTI)"}
        only = [f"{words}: {self.others[kind]}" for kind, words in kinds.items() if kind in self.others]
        return EXPECTED["bold"] + (f"; found only {' and '.join(only)}" if only else "")


def _in_words(desc: str, place: _Key) -> str:
    known = dict(place)
    words = [known.get("space", "native")] + [f"{k}-{known[k]}" for k in SPATIAL[1:] if k in known]
    return ":".join(words) + ("" if desc == "preproc" else f":desc-{desc}")


def _lend_masks(scans: dict[_Key, _Scan], root: Path, task: str | None) -> None:
    for folder in linked_derivatives(root):
        for path, entities, part in _parts(folder, task):
            scan = scans.get(_key(entities, VARIANT))
            if part.role == "mask" and scan is not None:
                scan.borrowed[_key(entities, (), SPATIAL)].append(path)


def _parts(root: Path, task: str | None) -> Iterator[tuple[Path, dict[str, str], Part]]:
    for path in files_below(root, EXTENSIONS):
        entities, words = parse_entities(path.name)
        if not {"sub", "task"} <= entities.keys() or task not in (None, entities["task"]):
            continue
        part = part_of(entities, words, path.suffix == ".tsv")
        if part is not None:
            yield path, entities, part


def _only(paths: list[Path], expected: str) -> tuple[Path | None, str]:
    """The one file of a part, or the reason why there is none to use."""
    if not paths:
        return None, f"no such file; expected {expected}"
    if len(paths) > 1:
        found = ", ".join(str(path) for path in paths)
        return None, f"{len(paths)} files of one name ({found}); keep one"
    if not paths[0].exists():
        return None, f"{paths[0].name} is a link to content that is not here; fetch it (`datalad get`)"
    return paths[0], ""
