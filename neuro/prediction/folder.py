"""What `neuro predict --out` leaves, whole or not at all.

DIR/prediction.json    all that is said of the scan
DIR/prediction.html    the same on one page, which fetches nothing
DIR/relevance.nii.gz   what in the scan spoke for a patient and what against, where there can be such a map
DIR/regions.tsv        its regions, the strongest first
"""

from __future__ import annotations

import json
import platform
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

from data.errors import ParameterError, UnknownNameError, nearest
from data.parcels.atlases import Atlas
from data.writing import disk_told, require_new_or_empty, whole_folder
from neuro.classifier.run_folder import TrainedRun
from neuro.explain import METHODS, Explained, explain_run
from neuro.explain.figures import glass_brain
from neuro.prediction.figure import distance_line, probability_line
from neuro.prediction.prediction import LABELS, Prediction
from neuro.tokens import ParcelTokens, RunTokens

JSON, PAGE = "prediction.json", "prediction.html"
TEMPLATE = "prediction.html.j2"
REGIONS_SHOWN = 8
LIBRARIES = ("torch", "timm", "nilearn", "nibabel", "captum", "mapie", "numpy")


def require_ready(out: str | Path, method: str) -> None:
    """Find a wrong folder or method before anything is computed.

    Raises:
        ParameterError: the folder holds something.
        UnknownNameError: no such method.
    """
    require_new_or_empty(out)
    if method not in METHODS:
        known = ", ".join(METHODS)
        raise UnknownNameError("method", must_be=f"one of {known}", got=method, do=nearest(method, METHODS))


def write_prediction(
    found: Prediction,
    trained: TrainedRun,
    tokens: RunTokens,
    out: str | Path,
    *,
    method: str,
    atlas: Atlas | None = None,
) -> Path:
    """Write what is said of a scan, and why; where there can be no map, the page says so.

    Args:
        found: what is said.
        trained: the model.
        tokens: the scan, cut as its training runs.
        out: a new or empty folder.
        method: of the map, a name of `neuro.explain.METHODS`.
        atlas: whose regions the tokens are, where they are.

    Raises:
        ParameterError: the folder holds something.
        DiskError: it cannot be written.
    """
    with disk_told(out), whole_folder(out) as draft:
        explained, no_map = None, ""
        in_mni = trained.space.startswith("MNI")
        try:
            explained = explain_run(trained.classifier, tokens, method, draft, atlas=atlas, in_mni=in_mni)
        except ParameterError as error:  # such a model, or nothing relevant: the probability stands
            no_map = str(error)
        told = found.as_json() | {"method": method if explained is not None else None, "no_map": no_map}
        (draft / JSON).write_text(json.dumps(told, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        on_template = in_mni or isinstance(tokens, ParcelTokens)
        (draft / PAGE).write_text(_page(found, trained, explained, no_map, on_template), encoding="utf-8")
    return Path(out)


def _page(
    found: Prediction, trained: TrainedRun, explained: Explained | None, no_map: str, on_template: bool
) -> str:
    from jinja2 import Environment, StrictUndefined

    drawn = explained is not None and explained.image is not None and on_template
    source = resources.files("neuro.prediction").joinpath(TEMPLATE).read_text(encoding="utf-8")
    return (
        Environment(autoescape=True, undefined=StrictUndefined)
        .from_string(source)
        .render(
            found=found,
            name=found.bold.name,
            people=len(trained.facts["people"]),
            positive=LABELS[1],
            line=probability_line(found),
            distance=distance_line(found, trained.novelty),
            map=glass_brain(_image(explained)) if drawn else None,
            no_map=no_map or "the scan, or its atlas, is in no space that a template is known of",
            method=None if explained is None else METHODS[explained.relevance.method].about,
            regions=_regions(explained),
            made=_made(found, trained),
            sentence=_sentence,
        )
    )


def _sentence(text: str) -> str:
    """Begun with a capital letter, but for a name (`sub-001`)."""
    return text[0].upper() + text[1:] if text.split()[0].rstrip(":,").isalpha() else text


def _image(explained: Explained | None) -> Any:
    import nibabel as nib

    assert explained is not None
    assert explained.image is not None
    return nib.load(explained.image)


def _regions(explained: Explained | None) -> list[dict[str, Any]]:
    """The strongest regions of regions.tsv."""
    import pandas as pd

    if explained is None or explained.table is None:
        return []
    rows = pd.read_csv(explained.table, sep="\t").head(REGIONS_SHOWN)
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _made(found: Prediction, trained: TrainedRun) -> list[tuple[str, str]]:
    versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    by = f"on the scores of {found.calibrated_on} people whom the scoring model had not seen"
    return [
        ("Scan", str(found.bold)),
        ("Cleaning", found.recipe_identity),
        ("Model", f"run {found.trained}, of {len(trained.facts['people'])} people"),
        ("Clips", f"{found.clips}, averaged; log odds {found.logit:.3f} before calibration"),
        ("Calibration", by if found.interval is not None else "none"),
        ("Versions", f"chiasm {version('chiasm')}, Python {platform.python_version()}, {versions}"),
    ]
