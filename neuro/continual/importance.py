"""How much each weight matters to runs that were learned: the diagonal of the Fisher information.

The model says Bernoulli(sigmoid(z)) of a clip, and the Fisher information is the mean, over clips and over
what the model itself would say of them, of the squared gradient of the log probability. For a Bernoulli that
is p (1 - p) (dz/dw)^2, exactly: no label is needed, and none is drawn. Runs weigh alike, whatever their
length. Kirkpatrick et al. 2017 (arXiv 1612.00796); Martens 2020 (arXiv 1412.1193) on why not labels.

RUN/fisher.safetensors   one tensor a weight, by its name in the model; how many runs, in the header
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from data.errors import BadFileError
from data.writing import whole_file
from neuro.model import BrainTransformer
from neuro.tokens import RunTokens, collate

FILE, FORMAT = "fisher.safetensors", "1"
CLIPS = 4  # of a run, evenly spread: each takes a pass back through the model


@dataclass(frozen=True, kw_only=True, eq=False)
class Importance:
    """Of all weights of a model.

    Attributes:
        weights: name of a parameter -> mean Fisher information of its entries, float32, on the CPU.
        runs: how many it is the mean of.
    """

    weights: Mapping[str, torch.Tensor]
    runs: int

    def __add__(self, other: Importance) -> Importance:
        """Of the runs of both (online EWC: Huszar 2018, arXiv 1712.03847)."""
        runs = self.runs + other.runs
        share = self.runs / runs
        weights = {k: share * v + (1 - share) * other.weights[k] for k, v in self.weights.items()}
        return Importance(weights=weights, runs=runs)


def importance_of(model: BrainTransformer, runs: Sequence[RunTokens]) -> Importance:
    """The diagonal Fisher information of runs; the model is left in evaluation mode.

    Args:
        model: trained; wherever it lies.
        runs: one or more, cut as it takes them.
    """
    model.eval()
    weights = dict(model.named_parameters())
    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    for run in runs:
        starts = _spread(run.clip_starts())
        for start in starts:
            _add_clip(model, run, start, total, weight=1 / (len(starts) * len(runs)))
    return Importance(weights={name: value.cpu() for name, value in total.items()}, runs=len(runs))


def _add_clip(
    model: BrainTransformer, run: RunTokens, start: int, total: dict[str, torch.Tensor], weight: float
) -> None:
    learned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    device = next(iter(learned.values())).device
    logit = model(collate([run.clip(start)]).to(device))[0].float()
    sure = torch.sigmoid(logit.detach().double())
    for name, slope in zip(
        learned, torch.autograd.grad(logit, list(learned.values()), allow_unused=True), strict=True
    ):
        if slope is not None:  # a part of the trunk that tokens do not pass
            total[name] += float(weight * sure * (1 - sure)) * slope.detach().float().square()


def _spread(starts: list[int]) -> list[int]:
    chosen = np.linspace(0, len(starts) - 1, min(CLIPS, len(starts))).round().astype(int)
    return [starts[int(i)] for i in chosen]


def save_importance(importance: Importance, folder: str | Path) -> Path:
    """Write it into a run's folder, whole or not at all."""
    from safetensors.torch import save_file

    path = Path(folder) / FILE
    weights = {name: value.contiguous().clone() for name, value in importance.weights.items()}
    with whole_file(path) as draft:
        save_file(weights, draft, metadata={"format": FORMAT, "runs": str(importance.runs)})
    return path


def load_importance(folder: str | Path, model: BrainTransformer) -> Importance | None:
    """What lies in a run's folder; None where none does.

    Raises:
        BadFileError: it is damaged, or of another model.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            if facts.get("format") != FORMAT:
                raise ValueError(f"format {facts.get('format')}, of another version of Chiasm")
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        wanted = {name: tuple(p.shape) for name, p in model.named_parameters()}
        if {name: tuple(value.shape) for name, value in weights.items()} != wanted:
            raise ValueError("weights of another model")
        return Importance(weights=weights, runs=int(facts["runs"]))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BadFileError(
            "importance of weights",
            must_be="as `neuro train` wrote it for this model",
            got=str(error).partition("\n")[0],
            do="train again, or give the old scans with --old",
            path=path,
        ) from error
