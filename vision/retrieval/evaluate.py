"""Several models on the same pictures: retrieval with captions, or zero-shot accuracy on a folder of classes.

A picture that one model cannot read is left out of the figures of all, so that a row of the table compares.

Shape legend: N pictures, M captions, L classes, E components.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.captions import Pair
from data.errors import BadFileError, ParameterError
from data.interval import Interval
from data.photo_walk import walk_photos
from vision.retrieval.embed_files import embed_files
from vision.retrieval.embedder import Embedder, embed_texts
from vision.retrieval.metrics import accuracy_figures, rank_both_ways
from vision.retrieval.summary import Failure
from vision.retrieval.zero_shot import (
    build_classifier,
    expected_calibration_error,
    fit_temperature,
    log_softmax,
    model_scale,
)
from vision.store.vector_store import Vectors

Load = Callable[[str], Embedder]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """One model's figures: with an interval, and `plain` ones without."""

    model: str
    figures: dict[str, Interval]
    plain: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Models side by side.

    Args:
        title: what was measured, on how much.
        failed: pictures that are left out, each once.
    """

    title: str
    models: list[ModelFigures]
    failed: list[Failure]

    def rows(self) -> Iterator[list[str]]:
        """Heading, then one row a figure: its name, and the value of each model."""
        yield ["", *(one.model for one in self.models)]
        for name in self.models[0].figures:
            yield [name, *(_with_interval(one.figures[name], name) for one in self.models)]
        for name in self.models[0].plain:
            yield [name, *(f"{one.plain[name]:.3f}" for one in self.models)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "title": self.title,
            "models": [asdict(one) for one in self.models],
            "failed": [{"path": str(path), "reason": reason} for path, reason in self.failed],
        }

    def to_markdown(self) -> str:
        """The table, and what was left out, as Markdown."""
        heading, *rows = ([cell.replace("|", "\\|") for cell in row] for row in self.rows())
        lines = [f"# {self.title}", "", "95 % intervals by bootstrap over pictures.", ""]
        lines += [f"| {' | '.join(heading)} |", "|---" * len(heading) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        if self.failed:
            lines += ["", "Left out:", ""]
            lines += [f"- `{str(path)!r}`: {reason}" for path, reason in self.failed]
        return "\n".join(lines) + "\n"


def evaluate_pairs(
    names: Sequence[str], pairs: Sequence[Pair], load: Load, progress: Progress | None = None
) -> Comparison:
    """R@1, R@5, R@10, mAP and median rank both ways.

    Args:
        names: of the models; one is in memory at a time.
        pairs: pictures and captions; several captions of a picture are several pairs.
        load: name -> model.
        progress: called with pictures done and pictures in all, from the start for each model.

    Raises:
        ParameterError: a model that knows no text.
        BadFileError: no picture can be read.
    """
    paths = list(dict.fromkeys(pair.image for pair in pairs))
    row = {path: at for at, path in enumerate(paths)}
    owner_M = np.array([row[pair.image] for pair in pairs])
    images, texts, failed = [], [], list[Failure]()
    for name in names:
        model = _with_text(load(name), name)
        images_NE, failures = embed_files(model, paths, progress)
        images.append(images_NE)
        texts.append(embed_texts(model, [pair.caption for pair in pairs]))
        failed += failures
    good_N = _readable(images)
    kept_M, new_row_N = good_N[owner_M], np.cumsum(good_N) - 1
    models = []
    for name, images_NE, texts_ME in zip(names, images, texts, strict=True):
        ways = rank_both_ways(images_NE[good_N], texts_ME[kept_M], new_row_N[owner_M[kept_M]])
        figures = {
            f"{way} {key}": value
            for way, ranking in zip(("text to picture", "picture to text"), ways, strict=True)
            for key, value in ranking.figures().items()
        }
        models.append(ModelFigures(model=name, figures=figures))
    title = f"Retrieval: {good_N.sum():,} pictures, {kept_M.sum():,} captions"
    return Comparison(title=title, models=models, failed=_once(failed))


def evaluate_classes(
    names: Sequence[str],
    folder: str | Path,
    load: Load,
    *,
    templates: Sequence[str],
    progress: Progress | None = None,
) -> Comparison:
    """Zero-shot accuracy on FOLDER/CLASS/pictures: top-1, top-5, top-1 as the mean over classes, calibration.

    The fitted temperature is that of all pictures; the calibration error at it is cross-fitted, each half of
    the pictures being judged at the other half's temperature.

    Raises:
        ParameterError: a model that knows no text.
        BadFileError: fewer than two classes, or no picture that can be read.
    """
    classes, paths, true_N = read_classes(folder)
    images, failed = [], list[Failure]()
    logits = []
    for name in names:
        model = _with_text(load(name), name)
        images_NE, failures = embed_files(model, paths, progress)
        scale = model_scale(name, model)
        classifier = build_classifier(partial(embed_texts, model), classes, templates, scale=scale)
        images.append(images_NE)
        logits.append(classifier.logits(images_NE))
        failed += failures
    good_N = _readable(images)
    models = [
        _accuracy(name, logits_NL[good_N], true_N[good_N])
        for name, logits_NL in zip(names, logits, strict=True)
    ]
    title = f"Zero-shot classification: {good_N.sum():,} pictures, {len(classes):,} classes"
    return Comparison(title=title, models=models, failed=_once(failed))


def read_classes(folder: str | Path) -> tuple[list[str], list[Path], Any]:
    """Names of the classes (folders' names, _ as a space), their pictures, and the class of each picture.

    Raises:
        BadFileError: fewer than two folders with pictures.
    """
    root = Path(folder)
    folders = sorted(one for one in root.iterdir() if one.is_dir()) if root.is_dir() else []
    found = {one.name.replace("_", " "): list(walk_photos([one])) for one in folders}
    found = {name: paths for name, paths in found.items() if paths}
    if len(found) < 2:
        must_be = "a folder with a folder of pictures for each of at least two classes"
        raise BadFileError("classes", must_be=must_be, got=f"{len(found)} of them", path=folder)
    true_N = np.repeat(np.arange(len(found)), [len(paths) for paths in found.values()])
    return list(found), [path for paths in found.values() for path in paths], true_N


def _accuracy(name: str, logits_NL: Any, true_N: Any) -> ModelFigures:
    true_logit_N1 = np.take_along_axis(logits_NL, true_N[:, None], axis=1)
    rank_N = (logits_NL >= true_logit_N1).sum(axis=1)  # ties count against the model
    figures = accuracy_figures(np.column_stack([rank_N <= 1, rank_N <= 5]), true_N, ["top-1", "top-5"])
    temperature_N = np.empty(len(true_N))
    halves = np.arange(len(true_N)) % 2 == 0
    for half in (halves, ~halves):
        temperature_N[half] = fit_temperature(logits_NL[~half], true_N[~half]) if (~half).any() else 1.0
    calibrated_NL = np.exp(log_softmax(logits_NL / temperature_N[:, None]))
    plain = {
        "ECE": expected_calibration_error(np.exp(log_softmax(logits_NL)), true_N),
        "ECE, fitted temperature": expected_calibration_error(calibrated_NL, true_N),
        "temperature": fit_temperature(logits_NL, true_N),
    }
    return ModelFigures(model=name, figures=figures, plain=plain)


def _with_text(model: Embedder, name: str) -> Embedder:
    if not model.has_text:
        do = "use a clip: model or embedded:lite"
        raise ParameterError("model", must_be="one with a text half", got=f"{name}, without one", do=do)
    return model


def _readable(images: Sequence[Vectors]) -> Any:
    good_N = np.all([np.isfinite(images_NE).all(axis=1) for images_NE in images], axis=0)
    if not good_N.any():
        raise BadFileError("pictures", must_be="readable", got=f"none of {len(good_N):,} that is")
    return good_N


def _once(failed: Sequence[Failure]) -> list[Failure]:
    return list({failure.path: failure for failure in reversed(failed)}.values())[::-1]


def _with_interval(value: Interval, name: str) -> str:
    digits = 0 if name.endswith("rank") else 3
    return f"{value.estimate:.{digits}f} [{value.low:.{digits}f}, {value.high:.{digits}f}]"
