"""`vision finetune`: fit a model to pictures and captions of your own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from data.errors import ParameterError

if TYPE_CHECKING:
    from vision.finetune import FinetuneResult
    from vision.finetune.source import Progress


def finetune(
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="CSV, TSV, JSON or JSONL of pairs.")],
    out: Annotated[Path, typer.Option(help="New folder for the result; or, with --resume, that of the run.")],
    model: Annotated[str, typer.Option(help="What to begin with: clip:ARCH/TAG or local:PATH.")],
    method: Annotated[
        str, typer.Option(help="probe (a linear map on top), lora (low-rank updates) or full.")
    ] = "lora",
    loss: Annotated[str, typer.Option(help="clip or siglip.")] = "clip",
    halves: Annotated[str, typer.Option(help="What learns: both, image or text.")] = "both",
    epochs: Annotated[int, typer.Option(help="Most passes over the pairs.")] = 10,
    batch_size: Annotated[int, typer.Option(help="Pairs contrasted with one another.")] = 64,
    micro_batch: Annotated[
        int | None, typer.Option(help="Pairs in memory at a time; the contrast stays the whole batch's.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate; by default the method's.")] = None,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW, on matrices.")] = 0.1,
    warmup: Annotated[float, typer.Option(help="Share of the steps in which the rate rises.")] = 0.1,
    crop: Annotated[
        float, typer.Option(help="Least share of a picture that a random crop keeps; 1 crops nothing.")
    ] = 1.0,
    rank: Annotated[int, typer.Option(help="Rank of LoRA's updates.")] = 8,
    alpha: Annotated[float, typer.Option(help="Weight of LoRA's updates, divided by the rank.")] = 16.0,
    precision: Annotated[
        str, typer.Option(help="auto (bf16 on CUDA, else fp32), fp32, bf16 or fp16.")
    ] = "auto",
    val: Annotated[Path | None, typer.Option(help="Pairs to validate with.")] = None,
    val_share: Annotated[
        float, typer.Option(help="Without --val: share of the pictures to validate with; 0 for none.")
    ] = 0.1,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without improvement on validation; 0 never does.")
    ] = 3,
    watch: Annotated[str, typer.Option(help="What has to improve: loss or recall (R@1).")] = "loss",
    wise_ft: Annotated[
        str, typer.Option(help="How far to go from the old weights to the new, 0 to 1; or auto.")
    ] = "0.5",
    seed: Annotated[int, typer.Option(help="Same seed, same result.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    workers: Annotated[int, typer.Option(help="Threads that decode pictures.")] = 4,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Keep a checkpoint every so many steps, beside each epoch's.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the interrupted run in --out.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="List pictures that cannot be read instead of stopping.")
    ] = False,
    images: Annotated[
        Path | None, typer.Option(help="Folder that paths in PAIRS start from; by default PAIRS' own.")
    ] = None,
    image_column: Annotated[str | None, typer.Option(help="Its column of pictures, if oddly named.")] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="Its column of captions, if oddly named.")
    ] = None,
) -> None:
    """Fit a model to pairs of pictures and captions; the result loads as local:OUT/model everywhere.

    Captions of one picture, and pictures of one caption, are no negatives of each other. By default the
    result lies half-way between the old weights and the new (--wise-ft), and so keeps what it knew before.
    """
    from data.captions import CaptionColumns, read_pairs

    columns = CaptionColumns(image=image_column, caption=caption_column, folder=images)
    train = read_pairs(pairs, columns)
    held = read_pairs(val, columns) if val is not None else None

    from vision.adapt import LoraOptions
    from vision.finetune.options import FinetuneOptions, Machine

    options = FinetuneOptions(
        method=method,
        loss=loss,
        halves=halves,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        crop=crop,
        val_share=val_share,
        patience=patience or None,
        watch=watch,
        precision=precision,
        wise_ft=_share_or_auto(wise_ft),
        lora=LoraOptions(rank=rank, alpha=alpha),
        seed=seed,
    )
    machine = Machine(
        micro_batch=micro_batch, workers=workers, checkpoint_steps=checkpoint_steps, skip_bad=skip_bad
    )
    from vision.console import note

    with note(f"Loading {model}"):
        from vision.backbones import load_backbone
        from vision.finetune.run import finetune as run

        backbone = load_backbone(model, device=device, shared=False)
    with _bars() as progress:
        result = run(
            backbone,
            train,
            out,
            options,
            validation=held,
            machine=machine,
            resume=resume,
            progress=progress,
        )
    _show(result)


@contextmanager
def _bars() -> Iterator[Progress]:
    """A bar on standard error for each thing that is being done; what follows a comma changes as it goes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def tell(what: str, done: int, total: int) -> None:
            name = what.partition(",")[0]
            if name not in tasks or bars.tasks[tasks[name]].finished:
                tasks[name] = bars.add_task(what, total=total)
            bars.update(tasks[name], description=what, completed=done)

        yield tell


def _show(result: FinetuneResult) -> None:
    """What was left out, the scores, and what to do with the model."""
    from vision.console import plain_table, print_table, printable

    if result.skipped:
        table = plain_table("reason", "left out")
        for path, why in result.skipped:
            table.add_row(why, printable(path))
        print_table(table)
    scored = result.scored
    table = plain_table("validation", "loss", "R@1 text to picture", "R@1 picture to text")
    for name, score in (
        ("before", scored.before),
        (f"fine-tuned, epoch {result.best_epoch}", scored.tuned),
        (f"result, {scored.alpha:g} of the way", scored.result),
    ):
        if score is not None:
            recalls = f"{score.text_to_picture:.3f}", f"{score.picture_to_text:.3f}"
            table.add_row(name, f"{score.loss:.4f}", *recalls)
    if scored.before is not None:
        print_table(table)
    last = result.epochs[-1]["train_loss"]
    early = ", stopped early" if result.stopped_early else ""
    kept = f", {result.val_pairs:,} for validation" if result.val_pairs else ", none for validation"
    typer.echo(
        f"{result.train_pairs:,} pairs{kept}; {len(result.epochs)} epochs{early}, last loss {last:.4f}"
    )
    typer.echo(f"model: local:{result.model}")


def _share_or_auto(text: str) -> float | Literal["auto"]:
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise ParameterError("--wise-ft", must_be="a share from 0 to 1, or auto", got=repr(text)) from None
