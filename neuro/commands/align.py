"""`neuro align`: brains among the words of a text model, for zero-shot use and for search. Exploratory."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neuro.commands.options import (
    BackboneName,
    CacheFolder,
    Changes,
    Device,
    Epochs,
    InitFrom,
    Out,
    PresetName,
    Seed,
    chosen_preset,
)
from neuro.defaults import FOLDS, PRESETS

if TYPE_CHECKING:
    from neuro.align.config import AlignConfig
    from neuro.align.study import Alignment


def align(
    cache: CacheFolder,
    out: Out,
    text: Annotated[
        str | None, typer.Option(help="Model whose text half is taken: embedded:lite (default) or clip:….")
    ] = None,
    told: Annotated[
        str | None,
        typer.Option(
            help="Facts told, most important first: diagnosis,age,sex,severity (default), medication, site."
        ),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(help="What patients have, in words; repeat it for synonyms. Parkinson's disease else."),
    ] = None,
    negative: Annotated[
        list[str] | None, typer.Option(help="What controls have, if they are not healthy; may be repeated.")
    ] = None,
    loss: Annotated[str, typer.Option(help="infonce or siglip.")] = "infonce",
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Leave the encoder as it is, and train the head alone.")
    ] = False,
    use: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Train nothing: apply what an earlier `neuro align` left."),
    ] = None,
    preset: PresetName = PRESETS[0],
    changes: Changes = None,
    init_from: InitFrom = None,
    backbone: BackboneName = None,
    epochs: Epochs = None,
    folds: Annotated[int, typer.Option(help="Folds, by person.")] = FOLDS,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Teach brains to stand near sentences about their people, and see what words then find. Exploratory.

    Sentences are written from the cache's table; names, sites and motion are not told. Zero-shot figures and
    the vectors for search are of people whom the model had not seen. For research, not for diagnosis.
    """
    from data.caches.cache import Cache
    from data.writing import require_new_or_empty

    require_new_or_empty(out)
    cohort = Cache.open(cache)
    if use is not None:
        given = (text, told, positive, negative, changes, init_from, backbone, epochs)
        _refuse_more(any(one is not None for one in given) or frozen)
        _apply(cohort, use, out, device)
        return
    chosen = chosen_preset(
        preset, _frozen(changes, frozen), backbone=backbone, epochs=epochs, init_from=init_from
    )
    config = _config(
        chosen,
        told,
        _words(positive, negative),
        text=text,
        loss=loss,
        init_from=None if init_from is None else str(init_from),
        folds=folds,
        seed=seed,
        device=device,
    )
    _train(cohort, config, out)


def _train(cohort: Any, config: AlignConfig, out: Path) -> None:
    from neuro.align.alignment_folder import write_alignment
    from neuro.align.study import align_cohort
    from neuro.commands.training_bar import training_bar

    with training_bar() as listeners:
        found = align_cohort(
            cohort, config, listeners=listeners, told=lambda words: print(words, file=sys.stderr)
        )
    write_alignment(found, cohort, config, out, command=_command())
    _tell(found, out)


def _apply(cohort: Any, use: Path, out: Path, device: str) -> None:
    from neuro.align.aligned_folder import load_aligned
    from neuro.align.alignment_folder import write_applied
    from neuro.align.study import apply_aligned

    aligned = load_aligned(use, device)
    found = apply_aligned(cohort, aligned, use, device=device)
    write_applied(found, cohort, aligned.sentences.words, out, aligned=use, command=_command())
    _tell(found, out)


def _tell(found: Alignment, out: Path) -> None:
    from neuro.align.alignment_folder import EXPLORATORY, SCANS

    figures = found.figures()
    auc = figures["zero_shot"]["auc"]
    print(f"zero-shot, unseen people: AUC {_interval(auc)}; chance 0.5")
    for one in figures["retrieval"]:
        print(f"found by {one['asked']!r}: above others {_interval(one['above'])}; chance 0.5")
    print(EXPLORATORY)
    print(f"search them: vision index --from-embeddings {out / SCANS} --store STORE")


def _interval(value: dict[str, float]) -> str:
    return f"{value['estimate']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def _config(chosen: Any, told: str | None, words: Any, *, text: str | None, loss: str, **rest: Any) -> Any:
    """An `AlignConfig` of a recipe and the options."""
    from neuro.align.config import TEXT, AlignConfig
    from neuro.align.sentences import TOLD, SentenceConfig

    facts = TOLD if told is None else tuple(part.strip() for part in told.split(","))
    return AlignConfig(
        text=text or TEXT,
        sentences=SentenceConfig(told=facts, words=words),
        loss=loss,  # type: ignore[arg-type]
        tokens=chosen.tokens,
        model=chosen.model,
        training=chosen.training,
        **rest,
    )


def _words(positive: list[str] | None, negative: list[str] | None) -> Any:
    from neuro.align.sentences import DiagnosisWords

    given = {"positive": positive, "negative": negative}
    return DiagnosisWords(**{name: tuple(value) for name, value in given.items() if value})


def _frozen(changes: list[str] | None, frozen: bool) -> list[str] | None:
    return [*(changes or ()), 'training.adaptation.method="linear"'] if frozen else changes


def _refuse_more(more: bool) -> None:
    from data.errors import ParameterError

    if more:
        do = "the model has its own words and its own recipe"
        raise ParameterError("--use", must_be="alone with --out and --device", got="more options", do=do)


def _command() -> str:
    return shlex.join(["neuro", *sys.argv[1:]])
