"""From pairs and a model to a fine-tuned model in a folder, with what it gained and what it cost.

OUT/run.json      what is being done: options, pairs, model
OUT/training.pt   how far it is; gone once the run is finished
OUT/model/        the result, as `local:OUT/model`
OUT/history.json  losses and scores
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from data.captions import Pair
from data.errors import ParameterError
from vision.backbones.backbone import Backbone
from vision.backbones.checkpoint import save_backbone
from vision.finetune.blend import Blend, Scored
from vision.finetune.clip_loss import clip_loss
from vision.finetune.options import FinetuneOptions, Machine
from vision.finetune.pair_table import PairTable, split_pairs
from vision.finetune.probe import ProbeTrainee, embed_frozen
from vision.finetune.siglip_loss import siglip_loss
from vision.finetune.source import FileSource, Progress, Source, sort_out_unreadable
from vision.finetune.trainee import TowerTrainee, Trainee, give_bias, open_clip_model
from vision.finetune.trainer import Lesson, Trainer
from vision.finetune.validation import Contrast, Validation
from vision.training.precision import resolve_precision
from vision.training.run_folder import RunFiles, RunFolder

MODEL = "model"
CONTRASTS: dict[str, Contrast] = {"clip": clip_loss, "siglip": siglip_loss}


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What came of a fine-tuning.

    Attributes:
        model: folder of the result; `local:` and this loads it.
        scored: what validation says of the model before, of the trained one, and of the result between them.
        epochs: one record an epoch: `epoch` (from 1), `train_loss`, and `validation` where there is one.
        best_epoch: whose weights were taken: the best on validation, the last one without.
        stopped_early: whether patience ended it.
        step_losses: one a step.
        train_pairs, val_pairs: how many of each.
        skipped: pictures that could not be read, and why.
    """

    model: Path
    scored: Scored
    epochs: list[dict[str, Any]]
    best_epoch: int
    stopped_early: bool
    step_losses: list[float]
    train_pairs: int
    val_pairs: int
    skipped: list[tuple[Path, str]]


def _silent(what: str, done: int, total: int) -> None:
    pass


def finetune(
    backbone: Backbone,
    pairs: Sequence[Pair],
    out: str | Path,
    options: FinetuneOptions | None = None,
    *,
    validation: Sequence[Pair] | None = None,
    machine: Machine | None = None,
    resume: bool = False,
    progress: Progress = _silent,
) -> FinetuneResult:
    """Fit an open_clip model to pairs of pictures and captions; OUT/model is the result, a plain model.

    Captions of one picture, and pictures of one caption, are no negatives of each other. Pictures are
    prepared as for searching; only `options.crop` augments them. With `machine.micro_batch` a step takes the
    memory of so many pairs and has the gradients of the whole batch.

    Args:
        backbone: a private copy in float32 (`load_backbone(name, shared=False)`), on the device to train on;
            changed in place: after the call it is the result.
        pairs: to train with, and to validate with where `validation` is not given.
        out: a new folder, or one of a run to resume.
        validation: pairs to validate with; None keeps `options.val_share` of the pictures.
        resume: go on with the run in `out`, whose options, pairs and model must be the same.
        progress: told (what, done, total).

    Raises:
        ParameterError: the model has no two halves that can be trained and saved, `out` holds something, or
            there is too little to train with.
        BadFileError: pictures that cannot be read, or no run to resume.
        FingerprintMismatchError: the run to resume is another one.
    """
    options, machine, folder = options or FinetuneOptions(), machine or Machine(), _folder(out)
    _check_model(backbone, options)
    if not resume:
        folder.require_new()
    # Everything that is wrong with the input is found before anything is written.
    train, held, skipped = _sorted_out(pairs, validation, options, machine, progress)
    if held is None and options.wise_ft == "auto":
        raise ParameterError("wise_ft", must_be="a share from 0 to 1 without validation", got="auto")
    identity = _identity(backbone, train, held, options)
    saved = folder.resume(identity) if resume else None
    if options.loss == "siglip":
        give_bias(backbone)
    desk = _Desk(backbone=backbone, options=options, machine=machine, progress=progress)
    blend = Blend(backbone, desk.validation(held))
    trainee = desk.trainee()
    if not resume:
        folder.begin(identity)
    trainer = desk.trainer(trainee, train, held, folder)
    trained = trainer.run(
        saved, lambda done, total, loss: progress(f"Training, loss {loss:.3f}", done, total)
    )
    trainee.settle()
    result = FinetuneResult(
        model=folder.path / MODEL,
        scored=blend.settle(options.wise_ft),
        epochs=trained.epochs,
        best_epoch=trained.best.epoch if trained.best is not None else len(trained.epochs),
        stopped_early=trainer.stopped_early and len(trained.epochs) < options.epochs,
        step_losses=trained.step_losses,
        train_pairs=len(train),
        val_pairs=len(held) if held is not None else 0,
        skipped=skipped,
    )
    _write(backbone, folder, result, identity)
    return result


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """What every piece of a fine-tuning is made from."""

    backbone: Backbone
    options: FinetuneOptions
    machine: Machine
    progress: Progress

    def trainee(self) -> Trainee:
        """What learns, by the method."""
        options = self.options
        if options.method == "probe":
            return ProbeTrainee(self.backbone, halves=options.halves)
        lora = options.lora if options.method == "lora" else None
        return TowerTrainee(self.backbone, halves=options.halves, lora=lora, seed=options.seed)

    def trainer(
        self, trainee: Trainee, train: PairTable, held: PairTable | None, folder: RunFolder
    ) -> Trainer:
        """The loop, with the pairs as the method takes them."""
        is_probe = self.options.method == "probe"
        lesson = Lesson(
            table=train,
            source=self.vectors(train) if is_probe else self.files(train, crop=self.options.crop),
            contrast=CONTRASTS[self.options.loss],
            device=self.backbone.device,
        )
        source = self.vectors(held) if is_probe and held is not None else None
        validation = self.validation(held, source)
        return Trainer(trainee, lesson, self.options, self.machine, folder=folder, validation=validation)

    def validation(self, table: PairTable | None, source: Source | None = None) -> Validation | None:
        """How pairs are measured; None where there are none."""
        if table is None:
            return None
        return Validation(
            table=table,
            source=source or self.files(table),
            contrast=CONTRASTS[self.options.loss],
            batch_size=self.options.batch_size,
            device=self.backbone.device,
        )

    def files(self, table: PairTable, *, crop: float = 1.0) -> FileSource:
        """Pictures and captions as the model takes them."""
        backbone: Any = self.backbone
        return FileSource(
            table=table,
            preprocess=backbone.preprocess,
            tokenize=backbone.tokenizer,
            workers=self.machine.workers,
            crop=crop,
            seed=self.options.seed,
        )

    def vectors(self, table: PairTable) -> Source:
        """Pictures and captions as the frozen model embeds them."""
        size = self.machine.micro_batch or self.options.batch_size
        return embed_frozen(self.backbone, self.files(table), batch_size=size, progress=self.progress)


def _folder(out: str | Path) -> RunFolder:
    train_on = f"train on from its result with --model local:{Path(out) / MODEL} into another folder"
    files = RunFiles(begun="run.json", checkpoint="training.pt", finished="history.json", train_on=train_on)
    return RunFolder(out, files)


def _check_model(backbone: Backbone, options: FinetuneOptions) -> None:
    open_clip_model(backbone)
    resolve_precision(options.precision, backbone.device)
    if backbone.dtype != torch.float32:
        raise ParameterError(
            "model to fine-tune",
            must_be="in float32",
            got=f"in {backbone.dtype}",
            do="load it so, and train with precision bf16",
        )


def _sorted_out(
    pairs: Sequence[Pair],
    validation: Sequence[Pair] | None,
    options: FinetuneOptions,
    machine: Machine,
    progress: Progress,
) -> tuple[PairTable, PairTable | None, list[tuple[Path, str]]]:
    """Pairs to train with, to validate with, and pictures left out."""

    def readable(some: Sequence[Pair]) -> tuple[list[Pair], list[tuple[Path, str]]]:
        return sort_out_unreadable(some, skip=machine.skip_bad, workers=machine.workers, progress=progress)

    train, skipped = readable(pairs)
    if validation is None:
        train, held = split_pairs(train, options.val_share, seed=options.seed)
    else:
        held, more = readable(validation)
        skipped += more
        _refuse_overlap(train, held)
    if len(train) < 2:
        raise ParameterError("pairs to train with", must_be="two or more", got=len(train))
    return PairTable.of(train), PairTable.of(held) if held else None, skipped


def _refuse_overlap(train: Sequence[Pair], held: Sequence[Pair]) -> None:
    both = {pair.image for pair in train} & {pair.image for pair in held}
    if both:
        raise ParameterError(
            "validation pairs",
            must_be="of other pictures than those trained with",
            got=f"{len(both):,} in common, {min(both)} among them",
        )


def _identity(
    backbone: Backbone, train: PairTable, held: PairTable | None, options: FinetuneOptions
) -> dict[str, Any]:
    """What a run to resume must have in common with the one that was begun."""
    return {
        "model": backbone.fingerprint,
        "options": options.identity(),
        "training pairs": train.digest(),
        "validation pairs": held.digest() if held is not None else None,
    }


def _write(backbone: Backbone, folder: RunFolder, result: FinetuneResult, identity: dict[str, Any]) -> None:
    shutil.rmtree(result.model, ignore_errors=True)  # of this very run, killed after it was saved
    save_backbone(backbone, result.model)
    history = asdict(result) | {"begun_from": backbone.name, **identity, "result": backbone.fingerprint}
    folder.finish(history | {"model": MODEL, "skipped": [[str(path), why] for path, why in result.skipped]})
