"""Features of a run's slices from a frozen picture model (T, S, F), computed once and kept beside the run.

A cached run's folder holds `slices/<name>.npy`, float32, and `slices/<name>.json`, which says what they were
made from; the name stands for model and spec. Features are recomputed where anything differs, and for runs
that are in no cache, or were changed since they were read, they are not kept.
Letters: T sampled frames, S slices, F features, H W pixels, V in-mask voxels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.caches.cached_run import FACTS, CachedRun
from data.errors import ParameterError
from data.writing import whole_file, write_whole
from neuro.tokens.slice_pictures import SliceSpec, slice_pictures
from vision.backbones import Backbone, load_backbone

FOLDER = "slices"
CHUNK = 16  # frames that go through the encoder together
LOOKED_AT = 8  # frames of a run that its digest covers
WAY = 1  # of making pictures and features: raised when either changes

Floats = NDArray[np.float32]


def frozen_features(run: CachedRun, spec: SliceSpec, backbone: Backbone | None = None) -> Floats:
    """Features (T, S, F) of a run's slices, read only where they come from the disk.

    Args:
        run: from a cache, or made at once.
        spec: which slices.
        backbone: the model that `spec` names, where it is loaded already; by default the shared instance that
            answers picture queries. Nothing in it is trained.

    Raises:
        ParameterError: a backbone of another name.
    """
    backbone = backbone if backbone is not None else load_backbone(spec.backbone)
    if backbone.name != spec.backbone:
        raise ParameterError(
            "backbone", must_be=f"the one that is cut for, {spec.backbone}", got=backbone.name
        )
    folder = home(run)
    if folder is None:
        return _computed(run, spec, backbone)
    identity = _identity(run, spec, backbone)
    made_by = {name: identity[name] for name in ("model", "spec", "way")}
    name = f"{backbone.fingerprint}-{_hashed(json.dumps(made_by, sort_keys=True).encode())}"
    path = folder / FOLDER / f"{name}.npy"
    kept_TSF = _read(path, identity)
    if kept_TSF is not None:
        return kept_TSF
    features_TSF = _computed(run, spec, backbone)
    _write(path, identity, features_TSF)
    return features_TSF


def home(run: CachedRun) -> Path | None:
    """The folder that a run was mapped from; None for one that was made or changed in memory."""
    series, std = run.series_TV, run.std_V
    if not (isinstance(series, np.memmap) and isinstance(std, np.memmap)):
        return None
    if series.filename is None or std.filename is None or len(series) != run.facts.get("n_frames"):
        return None
    folder = Path(series.filename).parent
    return folder if Path(std.filename).parent == folder and (folder / FACTS).is_file() else None


def _computed(run: CachedRun, spec: SliceSpec, backbone: Backbone) -> Floats:
    frames = iter(slice_pictures(run, spec))
    chunks = iter(lambda: list(islice(frames, CHUNK)), [])
    return np.concatenate([_of_frames(np.stack(chunk), backbone) for chunk in chunks])


def _of_frames(frames_TSHW: Floats, backbone: Backbone) -> Floats:
    """Slices of several frames (T, S, H, W), shown grey -> (T, S, F)."""
    pixels_BCHW = torch.from_numpy(frames_TSHW).flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
    features_BF: Floats = backbone.image_features(pixels_BCHW).cpu().numpy()
    return features_BF.reshape(*frames_TSHW.shape[:2], -1)


def _identity(run: CachedRun, spec: SliceSpec, backbone: Backbone) -> dict[str, object]:
    """All that the features are a function of; the length of a clip is not."""
    asked = {name: value for name, value in asdict(spec).items() if name not in ("frames", "backbone")}
    return {
        "model": f"{backbone.fingerprint} {backbone.dtype}",
        "spec": asked,
        "way": WAY,
        "run": _digest(run),
        "shape": [len(range(0, run.n_frames, spec.step(run.tr))), spec.slices, backbone.feature_dim],
    }


def _digest(run: CachedRun) -> str:
    """Of mask, amplitudes and some frames: what was cleaned in another way has others."""
    chosen = sorted({int(t) for t in np.linspace(0, run.n_frames - 1, LOOKED_AT)})
    parts = [
        np.packbits(run.mask_XYZ).tobytes(),
        np.ascontiguousarray(run.std_V).tobytes(),
        *(run.frames(t, t + 1).tobytes() for t in chosen),
        repr((run.mask_XYZ.shape, run.n_frames, run.tr)).encode(),
    ]
    return _hashed(*parts)


def _hashed(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def _read(path: Path, identity: dict[str, object]) -> Floats | None:
    """What was kept, memory-mapped; None where it is not there, damaged, or of something else."""
    try:
        if json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) != identity:
            return None
        features_TSF = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    whole = list(features_TSF.shape) == identity["shape"] and features_TSF.dtype == np.float32
    return features_TSF if whole else None


def _write(path: Path, identity: dict[str, object], features_TSF: Floats) -> None:
    """Keep features; the table is taken away first and comes last, so that it never speaks for others.

    They save time and nothing else: a cache that cannot be written to is no reason to fail.
    """
    try:
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        with whole_file(path) as draft:
            np.save(draft, features_TSF)
        write_whole(path.with_suffix(".json"), json.dumps(identity))
    except OSError:
        return
