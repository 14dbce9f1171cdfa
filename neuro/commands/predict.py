"""`neuro predict`: probability of the positive class for one new run. For research, not for diagnosis."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from neuro.commands.options import Device


def predict(
    trained: Annotated[Path, typer.Argument(metavar="RUN", help="What `neuro train` wrote.")],
    bold: Annotated[Path, typer.Argument(help="A preprocessed 4-D run.")],
    mask: Annotated[Path | None, typer.Option(help="Its brain mask.")] = None,
    confounds: Annotated[Path | None, typer.Option(help="Its confounds table.")] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="File of the atlas that the model's regions are from.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="New folder for a page, a map of what spoke for it, and its regions."),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(help="Of that map: integrated-gradients, votes, attention-gradient or occlusion."),
    ] = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON only.")] = False,
) -> None:
    """Probability of the positive class for one new run. For research, not for diagnosis."""
    from neuro.classifier.run_folder import load_run
    from neuro.explain import DEFAULT
    from neuro.prediction.predict import predict as predict_run

    found = predict_run(
        load_run(trained, device),
        bold,
        mask=mask,
        confounds=confounds,
        atlas=atlas,
        out=out,
        method=method or DEFAULT,
    )
    for warning in found.warnings:
        print(f"warning: {warning}.", file=sys.stderr)
    if as_json:
        print(json.dumps(found.as_json(), allow_nan=False))
        return
    said = found.interval or f"{found.probability:.3f}"
    how = f"calibrated on {found.calibrated_on} people" if found.interval else "uncalibrated"
    print(f"{found.bold}: probability {said} (mean of {found.clips} clips, {how})")
    if found.interval:
        print(f"{found.in_words}.")
    if out is not None:
        print(f"page: {out / 'prediction.html'}")
    print("For research, not for diagnosis.")
