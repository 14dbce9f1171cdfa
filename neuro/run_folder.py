"""What `neuro train` leaves and `neuro predict` needs: a folder with a trained model and all it was made by.

RUN/run.json      what a reader wants to know: recipe, cut, training, people, labels, versions, losses
RUN/backbone/     the trained trunk, as `local:RUN/backbone`
RUN/brain.safetensors   patch embeddings, gains and readout
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.caches.cache import Cache
from data.cleaning.recipe import Recipe
from data.errors import BadFileError
from data.writing import whole_folder
from neuro.classify import ParkinsonClassifier
from neuro.model import BrainTransformer
from neuro.tokens import TokenLayout, TubeletSpec
from neuro.training.supervised import TrainingConfig
from vision.backbones import load_backbone
from vision.backbones.checkpoint import save_backbone
from vision.backbones.registry import resolve_device

FORMAT = 3
SHARED_PART = "encoder.backbone."  # state of the trunk, which is saved in a folder of its own


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedRun:
    """A trained classifier and the recipe, cut and acquisition that it was trained on.

    Attributes:
        classifier: fitted.
        recipe: how runs must be cleaned.
        tubelet: how runs must be cut.
        tr: repetition time of the training runs, in seconds.
        space: of the training runs, or "native".
        facts: the whole of run.json.
    """

    classifier: ParkinsonClassifier
    recipe: Recipe
    tubelet: TubeletSpec
    tr: float
    space: str
    facts: dict[str, Any]


def save_run(classifier: ParkinsonClassifier, cache: Cache, spec: TubeletSpec, out: str | Path) -> Path:
    """Write a fitted classifier into a new or empty folder, whole or not at all.

    Raises:
        ParameterError: the folder holds something.
    """
    from safetensors.torch import save_file

    with whole_folder(out) as draft:
        model = classifier.model_
        save_backbone(model.encoder.backbone, draft / "backbone")
        own = {
            k: v.cpu().contiguous() for k, v in model.state_dict().items() if not k.startswith(SHARED_PART)
        }
        save_file(own, draft / "brain.safetensors")
        facts = _facts(classifier, cache, spec)
        (draft / "run.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return Path(out)


def load_run(path: str | Path, device: str = "auto") -> TrainedRun:
    """Read what `save_run` wrote.

    Raises:
        BadFileError: the folder is no run, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    from safetensors import SafetensorError

    folder = Path(path)
    resolve_device(device)  # a wrong device is not the folder's fault
    try:
        return _load(folder, device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadFileError(
            "run",
            must_be="a folder that `neuro train` wrote",
            got=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            do="name another, or train again",
            path=folder,
        ) from error


def _load(folder: Path, device: str) -> TrainedRun:
    from safetensors.torch import load_file

    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, of another version of Chiasm")
    own = load_file(folder / "brain.safetensors")
    spec = TubeletSpec(**facts["tubelet"])
    layout = TokenLayout(**{k: tuple(v) if isinstance(v, list) else v for k, v in facts["layout"].items()})
    backbone = load_backbone(f"local:{folder / 'backbone'}", device=device, shared=False)
    model = BrainTransformer(backbone, layout)
    own |= {SHARED_PART + key: value for key, value in backbone.state_dict().items()}
    model.load_state_dict(own)
    classifier = ParkinsonClassifier(
        facts["backbone"], TrainingConfig(**facts["training"]), facts["seed"], device
    )
    classifier.model_ = model.to(backbone.device).eval()
    negative, positive = facts["classes"]
    classifier.classes_ = np.array([negative, positive])
    classifier.losses_ = facts["losses"]
    return TrainedRun(
        classifier=classifier,
        recipe=Recipe(**facts["recipe"]),
        tubelet=spec,
        tr=facts["tr"],
        space=facts["space"],
        facts=facts,
    )


def _facts(classifier: ParkinsonClassifier, cache: Cache, spec: TubeletSpec) -> dict[str, Any]:
    import timm

    model = classifier.model_
    return {
        "format": FORMAT,
        "backbone": classifier.backbone,
        "fingerprint": model.encoder.backbone.fingerprint,
        "training": asdict(classifier.training or TrainingConfig()),
        "seed": classifier.seed,
        "classes": classifier.classes_.tolist(),
        "losses": classifier.losses_,
        "recipe": asdict(cache.recipe),
        "recipe_identity": cache.identity,
        "tubelet": asdict(spec),
        "layout": asdict(model.encoder.layout),
        "tr": float(cache.table["tr"].median()),
        "space": str(cache.table["space"].iloc[0]),  # a cohort has one
        "participants": sorted(set(cache.table["participant_id"])),
        "people": sorted(set(cache.table["person"])),
        "libraries": {"torch": torch.__version__, "timm": timm.__version__},
    }
