"""Whether cohorts fit a trained run: cleaned alike, cut alike, and the people that they must be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data.caches.cache import Cache
from data.errors import FingerprintMismatchError, LeakError, ParameterError
from neuro.classifier.run_folder import TrainedRun, seen_scans
from neuro.continual.runs import Runs
from neuro.prediction.predict import TR_TOLERANCE
from neuro.tokens import ParcelSpec, SliceSpec
from vision.backbones import load_backbone


def require_fit(parent: TrainedRun, cache: Cache) -> None:
    """Say no to a cohort that was cleaned or scanned in another way than the run's own.

    Raises:
        FingerprintMismatchError: another recipe, atlas or model that looks at slices.
        ParameterError: another space or repetition time.
    """
    facts, spec = parent.facts, parent.tokens
    _same("recipe", facts["recipe_identity"], cache.identity, cache, "prepare it as the run's cohort was")
    spaces = sorted(set(cache.table["space"]))
    if spaces != [parent.space]:
        raise ParameterError("space", must_be=parent.space, got=" and ".join(spaces), path=cache.root)
    odd = cache.table[(cache.table["tr"] - parent.tr).abs() > TR_TOLERANCE * parent.tr]
    if len(odd):
        raise ParameterError(
            "repetition time",
            must_be=f"within 5 % of the run's {parent.tr:g} s",
            got=f"{odd['tr'].iloc[0]:g} s ({odd['run_id'].iloc[0]})",
            do="prepare both cohorts with one (neuro prepare --tr), and train again",
            path=cache.root,
        )
    if isinstance(spec, ParcelSpec):
        _same("atlas", parent.atlas_digest, cache.parcels(0, spec.atlas).digest, cache)
    if isinstance(spec, SliceSpec):
        found = load_backbone(spec.backbone, device=parent.classifier.device).fingerprint
        _same("model that looks at slices", parent.slice_fingerprint, found, cache)


def require_own(parent: TrainedRun, old: Sequence[Cache]) -> None:
    """Say no to old cohorts that are not just those that the run was trained on.

    Raises:
        FingerprintMismatchError: a scan is missing, or there is one too many.
    """
    wanted, given = len(parent.facts["scans"]), sum(map(len, old))
    found = sum(len(seen_scans(parent.facts, cache)) for cache in old)
    if not wanted == given == found:
        raise FingerprintMismatchError(
            "--old",
            must_be=f"the {wanted} scans that the run was trained on, and no others",
            got=f"{found} of them among {given}",
            do="where they are not kept, give people whom it has not seen with --check",
        )


def require_new(parent: TrainedRun, cache: Cache) -> None:
    """Say no to a cohort that holds scans which the run was trained on.

    Raises:
        LeakError: it does.
    """
    seen = seen_scans(parent.facts, cache)
    if seen:
        raise LeakError(
            "added cohort",
            must_be="of scans that the run has not seen",
            got=f"{len(seen)} that it was trained on ({', '.join(sorted(seen)[:3])})",
            do="leave them out",
            path=cache.root,
        )


def require_cut_alike(parent: TrainedRun, runs: Runs, what: str) -> None:
    """Say no to runs whose tokens are not like the run's own: other voxels, other regions.

    Raises:
        ParameterError: they are not.
    """
    wanted = parent.classifier.layout_
    odd = next((run for run in runs.tokens if run.layout != wanted), None)
    if odd is not None:
        raise ParameterError(
            f"tokens of {what}",
            must_be=f"as the run's ({wanted})",
            got=f"{odd.layout} ({odd.run_id})",
            do="prepare both cohorts with one voxel size (neuro prepare --voxel-mm), and train again",
        )


def _same(what: str, wanted: str | None, found: str, cache: Cache, do: str = "") -> None:
    if wanted != found:
        must_be = f"that of the run ({wanted})"
        raise FingerprintMismatchError(what, must_be=must_be, got=found, do=do, path=Path(cache.root))
