"""Labels for pictures, without examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fastapi import APIRouter

from vision.retrieval.classify import classify_vectors
from vision.server.library import Library
from vision.server.routes.needs import TheLibrary, problems
from vision.server.schemas import ClassifyAnswer, ClassifyRequest, Verdict

router = APIRouter(tags=["classify"])


@router.post(
    "/classify", summary="Label pictures", responses=problems("bad-request", "unprocessable", "too-large")
)
async def classify(library: TheLibrary, request: ClassifyRequest) -> ClassifyAnswer:
    """The label that fits each picture best; pictures that the index does not hold are left out."""
    return await library.run("labels", _classify, library, request)


def _classify(library: Library, request: ClassifyRequest) -> ClassifyAnswer:
    classifier, rule = library.classifier(request.labels, request.templates, request.none)
    vectors = library.index.store.vectors([str(id) for id in request.ids])
    known = library.index.pictures(list(vectors))
    asked = [str(id) for id in dict.fromkeys(request.ids)]
    ids = [id for id in asked if id in vectors and id in known and known[id].places]
    if not ids:
        return ClassifyAnswer(verdicts=[])
    named: list[tuple[Path, str | None]] = [(known[id].places[0].path, id) for id in ids]
    vectors_NE = np.stack([vectors[id] for id in ids])
    return ClassifyAnswer(
        verdicts=[
            Verdict(
                id=verdict.id or "",
                label=verdict.label,
                probability=verdict.probability,
                fits=verdict.fits,
                probabilities=verdict.probabilities,
            )
            for verdict in classify_vectors(classifier, vectors_NE, named, rule)
        ]
    )
