"""What a file of a derivative is, by its name: fMRIPrep of all versions, XCP-D, and what is only looked past.

fMRIPrep since 1.2: `…_space-X_desc-preproc_bold.nii.gz`, `…_space-X_desc-brain_mask.nii.gz`, and
`…_desc-confounds_timeseries.tsv` (1.2 to 20.1: `…_desc-confounds_regressors.tsv`).
fMRIPrep 1.0 and 1.1: `…_bold_space-X_preproc.nii.gz`, `…_bold_space-X_brainmask.nii.gz`,
`…_bold_confounds.tsv`, and `variant-` where later versions have `desc-`.
XCP-D: `…_space-X_desc-denoised_bold.nii.gz` (before 0.3 `desc-residual`), `…[_desc-filtered]_motion.tsv`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data.errors import ParameterError

Role = Literal["bold", "mask", "confounds", "motion", "raw", "surface"]
EXTENSIONS = (".nii.gz", ".nii", ".tsv")
# What may differ between two images of one scan; everything else in a name tells one scan from another.
SPATIAL = ("space", "cohort", "res", "den", "echo")
VARIANT = (*SPATIAL, "desc", "variant")
# How a run was processed, the most wanted first. What is not here is no run to work with.
PROCESSED = ("preproc", "denoised", "residual", "denoisedSmoothed", "smoothAROMAnonaggr", "interpolated")
DENOISED = frozenset(PROCESSED) - {"preproc"}
NATIVE = "native"  # how a space is asked for whose runs carry none in their names


@dataclass(frozen=True)
class Part:
    """What a file is to its scan: its role, and how it was processed where that matters."""

    role: Role
    desc: str = ""


def part_of(entities: dict[str, str], words: tuple[str, ...], is_table: bool) -> Part | None:
    """The part that a file of this name plays, or None."""
    return _table(entities, words) if is_table else _image(entities, words)


def _table(entities: dict[str, str], words: tuple[str, ...]) -> Part | None:
    desc = entities.get("desc")
    if desc == "confounds" and words in {("timeseries",), ("regressors",)}:
        return Part("confounds")
    if words == ("bold", "confounds"):
        return Part("confounds")
    if words == ("motion",) and desc in {None, "filtered"}:
        return Part("motion")
    return None


def _image(entities: dict[str, str], words: tuple[str, ...]) -> Part | None:
    desc = entities.get("desc") or entities.get("variant")
    if words == ("bold", "preproc"):
        return Part("bold", desc or "preproc") if desc in {None, *PROCESSED} else None
    if words == ("bold",):
        if desc is None:
            return Part("raw") if "space" not in entities else None
        return Part("bold", desc) if desc in PROCESSED else None
    if (desc == "brain" and words == ("mask",)) or words == ("bold", "brainmask"):
        return Part("mask")
    return Part("surface") if words == ("bold.dtseries",) else None


@dataclass(frozen=True)
class Wanted:
    """A space as fMRIPrep's own `--output-spaces` writes it: `MNI152NLin6Asym:res-2`; made by `wanted_space`.

    Attributes:
        text: as it was asked for.
        space: its name, or None for any; `native` for runs without one.
        modifiers: entities that must be there with these values (`res`, `cohort`, `desc`, …).
    """

    text: str = ""
    space: str | None = None
    modifiers: tuple[tuple[str, str], ...] = ()

    def fits(self, entities: dict[str, str], desc: str) -> bool:
        """Whether an image of these entities, processed so, is what was asked for."""
        if self.space is not None and entities.get("space", NATIVE) != self.space:
            return False
        known = {**entities, "desc": desc}
        return all(known.get(key) == value for key, value in self.modifiers)


def wanted_space(text: str | None) -> Wanted:
    """Read `SPACE[:key-value…]`; None wants nothing in particular.

    Raises:
        ParameterError: a modifier is no key-value.
    """
    if text is None:
        return Wanted()
    space, *modifiers = text.split(":")
    pairs = [modifier.partition("-") for modifier in modifiers]
    if not all(key and value for key, _, value in pairs):
        raise ParameterError(
            "space", must_be="a name, and :key-value after it, such as MNI152NLin6Asym:res-2", got=text
        )
    found = tuple((key, value) for key, _, value in pairs)
    return Wanted(text, space or None, found)
