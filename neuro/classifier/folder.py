"""A fitted classifier in a folder, without pickle: nothing in it is executed when it is read.

FOLDER/classifier.json     parameters, how runs are cut, labels, people, losses, versions
FOLDER/backbone/           the trained trunk, as `local:FOLDER/backbone`
FOLDER/brain.safetensors   patch embeddings, gains and readout
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from neuro.classifier.parkinson import OPTIONS, ParkinsonClassifier
from neuro.model.model_folder import CLASSIFIER, damage_told
from neuro.options_from import options_from
from neuro.tokens import spec_from
from vision.backbones.registry import resolve_device


def save_classifier(classifier: ParkinsonClassifier, folder: str | Path) -> Path:
    """Write a fitted classifier into a new or empty folder, whole or not at all.

    Raises:
        ParameterError: the folder holds something.
        NotFittedError: it is not fitted.
    """
    check_is_fitted(classifier)
    return CLASSIFIER.write(classifier.model_, classifier.spec_, folder, **_facts(classifier))


def load_classifier(folder: str | Path, device: str = "auto") -> ParkinsonClassifier:
    """Read what `save_classifier` wrote.

    Raises:
        BadFileError: the folder is none of these, or a file of it is damaged.
        ParameterError: there is no such device.
    """
    resolve_device(device)  # a wrong device is not the folder's fault
    must_be = "a folder that `ParkinsonClassifier.save` wrote"
    with damage_told("classifier", must_be=must_be, do="name another, or train again", path=folder):
        return _load(Path(folder), device)


def _facts(classifier: ParkinsonClassifier) -> dict[str, Any]:
    parameters = classifier.get_params(deep=False)
    del parameters["device"]  # of this machine
    for name in OPTIONS:
        parameters[name] = asdict(parameters[name]) if parameters[name] is not None else None
    return {
        "parameters": parameters,
        "classes": classifier.classes_.tolist(),
        "people": classifier.people_,
        "losses": classifier.losses_,
        "regions": getattr(classifier, "n_features_in_", None),
        "region_names": getattr(classifier, "feature_names_in_", np.array(None)).tolist(),
    }


def _load(folder: Path, device: str) -> ParkinsonClassifier:
    model, facts = CLASSIFIER.read(folder, device)
    parameters = dict(facts["parameters"])
    for name, kind in OPTIONS.items():
        given = parameters[name]
        parameters[name] = options_from(kind, given, name) if given is not None else None
    classifier = ParkinsonClassifier(**parameters, device=device)
    classifier.model_, classifier.layout_ = model, model.encoder.layout
    classifier.spec_ = spec_from(facts["tokens"])
    negative, positive = facts["classes"]
    classifier.classes_ = np.array([negative, positive])
    classifier.people_, classifier.losses_ = facts["people"], facts["losses"]
    if facts["regions"] is not None:
        classifier.n_features_in_ = facts["regions"]
    if facts["region_names"] is not None:
        classifier.feature_names_in_ = np.array(facts["region_names"], dtype=object)
    return classifier
