"""A fitted classifier in a folder, without pickle: nothing in it is executed when it is read.

FOLDER/classifier.json     parameters, how runs are cut, labels, people, losses, versions
FOLDER/backbone/           the trained trunk, as `local:FOLDER/backbone`
FOLDER/brain.safetensors   patch embeddings, gains and readout
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from data.errors import BadFileError
from data.writing import whole_folder
from neuro.classify import OPTIONS, ParkinsonClassifier
from neuro.model import BrainTransformer, ModelConfig
from neuro.options_from import options_from
from neuro.tokens import TokenLayout, spec_as_dict, spec_from
from vision.backbones import load_backbone
from vision.backbones.checkpoint import save_backbone
from vision.backbones.registry import resolve_device

FORMAT = 3
DESCRIPTION, WEIGHTS, BACKBONE = "classifier.json", "brain.safetensors", "backbone"
SHARED_PART = "encoder.backbone."  # state of the trunk, which is saved in a folder of its own


def save_classifier(classifier: ParkinsonClassifier, folder: str | Path) -> Path:
    """Write a fitted classifier into a new or empty folder, whole or not at all.

    Raises:
        ParameterError: the folder holds something.
        NotFittedError: it is not fitted.
    """
    from safetensors.torch import save_file

    check_is_fitted(classifier)
    with whole_folder(folder) as draft:
        model = classifier.model_
        save_backbone(model.encoder.backbone, draft / BACKBONE)
        state = {k: v for k, v in model.state_dict().items() if not k.startswith(SHARED_PART)}
        # Cloned, as two names of one tensor are refused.
        save_file({k: v.detach().cpu().clone().contiguous() for k, v in state.items()}, draft / WEIGHTS)
        facts = json.dumps(_facts(classifier), indent=1)
        (draft / DESCRIPTION).write_text(facts + "\n", encoding="utf-8")
    return Path(folder)


def load_classifier(folder: str | Path, device: str = "auto") -> ParkinsonClassifier:
    """Read what `save_classifier` wrote.

    Raises:
        BadFileError: the folder is none of these, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    from safetensors import SafetensorError

    resolve_device(device)  # a wrong device is not the folder's fault
    try:
        return _load(Path(folder), device)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadFileError(
            "classifier",
            must_be="a folder that `ParkinsonClassifier.save` wrote",
            got=in_a_line(error),
            do="name another, or train again",
            path=folder,
        ) from error


def in_a_line(error: Exception) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _facts(classifier: ParkinsonClassifier) -> dict[str, Any]:
    import timm

    model = classifier.model_
    parameters = classifier.get_params(deep=False)
    del parameters["device"]  # of this machine
    for name in OPTIONS:
        parameters[name] = asdict(parameters[name]) if parameters[name] is not None else None
    return {
        "format": FORMAT,
        "parameters": parameters,
        "config": asdict(model.encoder.config),
        "fingerprint": model.encoder.backbone.fingerprint,
        "tokens": spec_as_dict(classifier.spec_),
        "layout": asdict(classifier.layout_),
        "classes": classifier.classes_.tolist(),
        "people": classifier.people_,
        "losses": classifier.losses_,
        "regions": getattr(classifier, "n_features_in_", None),
        "region_names": getattr(classifier, "feature_names_in_", np.array(None)).tolist(),
        "libraries": {"torch": torch.__version__, "timm": timm.__version__},
    }


def _load(folder: Path, device: str) -> ParkinsonClassifier:
    from safetensors.torch import load_file

    facts = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    if facts["format"] != FORMAT:
        raise ValueError(f"format {facts['format']}, of another version of Chiasm")
    parameters = dict(facts["parameters"])
    for name, kind in OPTIONS.items():
        given = parameters[name]
        parameters[name] = options_from(kind, given, name) if given is not None else None
    classifier = ParkinsonClassifier(**parameters, device=device)
    classifier.spec_ = spec_from(facts["tokens"])
    classifier.layout_ = TokenLayout.from_facts(facts["layout"])
    backbone = load_backbone(f"local:{folder / BACKBONE}", device=device, shared=False)
    config = options_from(ModelConfig, facts["config"], "config")
    model = BrainTransformer(backbone, classifier.layout_, config)
    state = load_file(folder / WEIGHTS)
    state |= {SHARED_PART + key: value for key, value in backbone.state_dict().items()}
    model.load_state_dict(state)
    classifier.model_ = model.to(backbone.device).eval()
    negative, positive = facts["classes"]
    classifier.classes_ = np.array([negative, positive])
    classifier.people_, classifier.losses_ = facts["people"], facts["losses"]
    if facts["regions"] is not None:
        classifier.n_features_in_ = facts["regions"]
    if facts["region_names"] is not None:
        classifier.feature_names_in_ = np.array(facts["region_names"], dtype=object)
    return classifier
