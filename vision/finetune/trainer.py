"""The loop: batches in an order of their own, one step each, a checkpoint and a validation an epoch.

Everything that a step depends on is either a function of the options, the epoch and the step, or in the
checkpoint; so an interrupted run goes on to the very losses that it would have had.

Shape suffixes: B pairs of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from data.errors import ParameterError
from vision.finetune.grad_cache import Embed, Vectors, backward_whole_batch
from vision.finetune.options import FinetuneOptions, Machine
from vision.finetune.pair_table import PairTable
from vision.finetune.source import Source
from vision.finetune.trainee import Trainee
from vision.finetune.validation import Contrast, Score, Validation
from vision.training.ahead import ahead
from vision.training.precision import resolve_precision
from vision.training.random_state import aside, random_state, set_random_state
from vision.training.run_folder import Best, Progress, RunFolder
from vision.training.schedule import learning_rate

BETAS, EPS = (0.9, 0.98), 1e-6  # CLIP's (Radford et al. 2021, table 20)
AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}

OnStep = Callable[[int, int, float], None]
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """What is trained on: pairs, where they come from, the loss, and the device."""

    table: PairTable
    source: Source
    contrast: Contrast
    device: torch.device


class Trainer:
    """Trains in place; `run` to the end, or to where it is interrupted."""

    def __init__(
        self,
        trainee: Trainee,
        lesson: Lesson,
        options: FinetuneOptions,
        machine: Machine,
        *,
        folder: RunFolder,
        validation: Validation | None,
    ):
        self.trainee, self.lesson, self.options, self.machine = trainee, lesson, options, machine
        self.folder, self.validation = folder, validation
        self.precision = resolve_precision(options.precision, lesson.device)
        self.optimizer = _optimizer(trainee, options)
        self.scaler = torch.amp.GradScaler(lesson.device.type) if self.precision == "fp16" else None
        self.progress = Progress()
        self.steps_an_epoch = -(-len(lesson.table) // options.batch_size)
        self.total = self.steps_an_epoch * options.epochs

    def run(self, saved: dict[str, Any] | None, on_step: OnStep) -> Progress:
        """Train from the beginning, or from a checkpoint; leaves the best epoch's weights in place.

        Raises:
            ParameterError: the loss is no longer a number.
        """
        with aside():
            torch.manual_seed(self.options.seed)
            if saved is not None:
                self._restore(saved)
            while not self._is_over():
                self._epoch(on_step)
        if self.progress.best is not None:
            self._set_weights(self.progress.best.weights)
        return self.progress

    @property
    def stopped_early(self) -> bool:
        """Whether validation has not improved for as many epochs as the options are patient."""
        best, patience = self.progress.best, self.options.patience
        if best is None or patience is None:
            return False
        return len(self.progress.epochs) - best.epoch >= patience

    def _is_over(self) -> bool:
        return len(self.progress.epochs) >= self.options.epochs or self.stopped_early

    def _epoch(self, on_step: OnStep) -> None:
        epoch = len(self.progress.epochs)
        losses = self.progress.step_losses
        batches = self.lesson.table.batches(self.options.batch_size, seed=self.options.seed, epoch=epoch)
        left = batches[len(losses) - epoch * self.steps_an_epoch :]
        for rows_B, pictures, captions in ahead(self._batches(left, epoch)):
            loss = self._step(rows_B, pictures, captions)
            losses.append(loss)
            on_step(len(losses), self.total, loss)
            if self.machine.checkpoint_steps and len(losses) % self.machine.checkpoint_steps == 0:
                self._save()
        sizes = [len(batch) for batch in batches]
        of_epoch = losses[epoch * self.steps_an_epoch :]
        mean = sum(size * loss for size, loss in zip(sizes, of_epoch, strict=True)) / sum(sizes)
        self._note(epoch, mean)
        self._save()

    def _batches(self, batches: list[torch.Tensor], epoch: int) -> Iterator[Batch]:
        table, source = self.lesson.table, self.lesson.source
        for rows_B in batches:
            pictures = source.pictures(table.picture_N[rows_B], epoch)
            yield rows_B, pictures, source.captions(table.caption_N[rows_B])

    def _step(self, rows_B: torch.Tensor, pictures: torch.Tensor, captions: torch.Tensor) -> float:
        self.trainee.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        known_BB = self.lesson.table.known(rows_B).to(self.lesson.device)

        def contrast(image_BE: torch.Tensor, text_BE: torch.Tensor) -> torch.Tensor:
            scale = self.trainee.log_scale.exp()
            return self.lesson.contrast(image_BE, text_BE, scale, self.trainee.bias, known_BB)

        self.optimizer.zero_grad(set_to_none=True)
        loss = float(backward_whole_batch(self._parts(pictures, captions), contrast, self.scaler))
        if not math.isfinite(loss):
            raise ParameterError(
                "loss", must_be="finite", got=loss, do="take a lower --lr, or --precision fp32"
            )
        self._update()
        return loss

    def _parts(self, pictures: torch.Tensor, captions: torch.Tensor) -> list[Embed]:
        size = self.machine.micro_batch or len(pictures)
        return [
            lambda part=part: self._embed(*part)  # type: ignore[misc]
            for part in zip(torch.split(pictures, size), torch.split(captions, size), strict=True)
        ]

    def _embed(self, pictures: torch.Tensor, captions: torch.Tensor) -> Vectors:
        device, half = self.lesson.device, AMP.get(self.precision)
        # A context for each part: autocast would hand weights that it has cast in one pass to the next.
        with torch.autocast(device.type, dtype=half, enabled=half is not None):
            image_BE = self.trainee.embed_pictures(pictures.to(device, non_blocking=True))
            return image_BE, self.trainee.embed_captions(captions.to(device, non_blocking=True))

    def _update(self) -> None:
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.trainee.learning().values(), self.options.clip_norm)
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.trainee.cap_scale()

    def _learning_rate(self) -> float:
        return learning_rate(
            len(self.progress.step_losses),
            total=self.total,
            warmup=round(self.options.warmup * self.total),
            peak=self.options.peak,
        )

    def _note(self, epoch: int, train_loss: float) -> None:
        """Validate, and write down what the epoch came to."""
        record: dict[str, Any] = {"epoch": epoch + 1, "train_loss": train_loss}
        if self.validation is not None:
            score = self.validation.score(self.trainee)
            record["validation"] = asdict(score)
            self._keep_if_best(epoch + 1, score)
        self.progress.epochs.append(record)

    def _keep_if_best(self, epoch: int, score: Score) -> None:
        value = score.recall if self.options.watch == "recall" else -score.loss
        if self.progress.best is None or value > self.progress.best.value:
            self.progress.best = Best(epoch=epoch, value=value, weights=self._weights())

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self.trainee.learning().items()}

    @torch.no_grad()
    def _set_weights(self, weights: dict[str, torch.Tensor]) -> None:
        for name, parameter in self.trainee.learning().items():
            parameter.copy_(weights[name])

    def _save(self) -> None:
        state = {
            "weights": self._weights(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "random": random_state(),
        }
        self.folder.save(state, self.progress)

    def _restore(self, saved: dict[str, Any]) -> None:
        self._set_weights(saved["weights"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.scaler is not None and saved["scaler"] is not None:
            self.scaler.load_state_dict(saved["scaler"])
        set_random_state(saved["random"])
        self.progress = saved["progress"]


def _optimizer(trainee: Trainee, options: FinetuneOptions) -> torch.optim.AdamW:
    """AdamW; only matrices decay, not gains, biases and the scale."""
    learning = list(trainee.learning().values())
    groups = [
        {"params": [p for p in learning if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.peak, betas=BETAS, eps=EPS)
