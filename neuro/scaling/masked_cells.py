"""Cells of a scaling study as masked pretrainings: people held out once, sizes and shares of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from neuro.model import ModelConfig, fresh_encoder
from neuro.pretrain.config import PretrainConfig
from neuro.pretrain.lesson import Lesson, Modelling, lesson_of, modelling
from neuro.pretrain.pools import Pool, held_out_people, parted
from neuro.scaling.finished import Finished
from neuro.scaling.flops import training_flops
from neuro.scaling.grid import Cell
from neuro.scaling.parameters import encoder_params
from neuro.scaling.people_share import people_share
from neuro.tokens import spec_as_dict
from neuro.training.loop import fit


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskedCells:
    """Trains a cell of a `ScalingPlan`: cell -> `Finished`.

    Attributes:
        pool: the cohort.
        model: positions, attention and drop path; the backbone is the cell's.
        config: how to pretrain; its seed says who is held out from every cell, its epochs are the cell's
            passes.
    """

    pool: Pool
    model: ModelConfig
    config: PretrainConfig

    @property
    def setting(self) -> Mapping[str, Any]:
        """What else than the cell decides a loss, JSON-ready."""
        told = self.config.identity()
        del told["training"]["epochs"]
        return {
            "recipe": self.pool.identity,
            "runs": sorted(run.run_id for run in self.pool.runs),
            "tokens": spec_as_dict(self.pool.runs[0].spec),
            "model": {name: value for name, value in asdict(self.model).items() if name != "backbone"},
            "pretraining": told,
        }

    def __call__(self, cell: Cell) -> Finished:
        """Pretrain and measure; what is seen is counted in clips.

        Raises:
            ParameterError: too few people.
        """
        lesson = self._lesson(cell)
        objective = self._objective(cell)
        examples = lesson.examples([float(len(pool)) for pool in lesson.train])
        training = lesson.config.training
        seen = len(examples) * training.epochs
        batch = examples.batch(range(min(training.batch_size, len(examples))), 0)
        device = objective.encoder.backbone.device
        batches = seen / len(batch)
        compute = training_flops(lambda: objective(batch.to(device)), times=batches)
        fit(objective, examples, training, seed=cell.seed)
        return Finished(
            params=encoder_params(objective.encoder),
            seen=seen,
            compute=compute,
            loss=lesson.held_out_loss(objective),
            seed=cell.seed,
        )

    def _lesson(self, cell: Cell) -> Lesson:
        held = held_out_people([self.pool], self.config.held_out, seed=self.config.seed)
        others, _ = parted(self.pool, held)
        chosen = others.of(people_share(others.people, cell.share, seed=cell.seed))
        training = replace(self.config.training, epochs=max(1, round(cell.passes)))
        lesson = lesson_of([self.pool], held, replace(self.config, training=training))
        return replace(lesson, train=[chosen], config=replace(lesson.config, seed=cell.seed))

    def _objective(self, cell: Cell) -> Modelling:
        model = replace(self.model, backbone=cell.backbone)
        layout = self.pool.runs[0].layout
        encoder = fresh_encoder(layout, model, seed=cell.seed, device=self.config.device)
        return modelling(encoder, replace(self.config, seed=cell.seed))
