"""Is a map to be believed? Against what was planted, other methods, random weights and other seeds.

Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018, arXiv 1810.03292: a map that random weights
do not change tells of the picture and not of the model.
Letters: X Y Z voxel axes, M voxels of the brain.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from data.errors import ParameterError
from neuro.classifier import ParkinsonClassifier

Mask = NDArray[np.bool_]
Values = NDArray[np.floating]

BLOCK = re.compile(r"\.(?:blocks|resblocks|layers?)\.(\d+)\.")


def voxel_auc(map_XYZ: Values, planted_XYZ: Mask, brain_XYZ: Mask) -> float:
    """How well |relevance| tells planted voxels from the others of the brain: 0.5 is chance, ties half.

    Raises:
        ParameterError: nothing planted within the brain, or nothing else.
    """
    from sklearn.metrics import roc_auc_score

    truth_M = planted_XYZ[brain_XYZ]
    if truth_M.all() or not truth_M.any():
        raise ParameterError(
            "planted mask", must_be="a part of the brain", got=f"{truth_M.sum()} of {truth_M.size} voxels"
        )
    return float(roc_auc_score(truth_M, np.abs(map_XYZ[brain_XYZ])))


def rank_correlation(one_XYZ: Values, other_XYZ: Values, brain_XYZ: Mask) -> float:
    """Spearman's correlation of |relevance| over the voxels of the brain; NaN where a map is flat."""
    from scipy.stats import rankdata

    ranks = [rankdata(np.abs(values[brain_XYZ])) for values in (one_XYZ, other_XYZ)]
    if any(np.ptp(rank_M) == 0 for rank_M in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def rank_correlations(maps: Mapping[str, Values], brain_XYZ: Mask) -> pd.DataFrame:
    """`rank_correlation` of every two maps, a symmetric table by name."""
    table = pd.DataFrame(np.eye(len(maps)), index=list(maps), columns=list(maps))
    for one, other in combinations(maps, 2):
        table.loc[one, other] = table.loc[other, one] = rank_correlation(maps[one], maps[other], brain_XYZ)
    return table


def randomised(classifier: ParkinsonClassifier, seed: int = 0) -> Iterator[tuple[str, ParkinsonClassifier]]:
    """Copies whose weights are drawn anew, more of them each time: from the readout down to the embeddings.

    "readout", then "block 2", "block 1" and so on from the last, and "embedding" with all that is left. Every
    tensor is drawn from a normal distribution of its own mean and spread, so that signals keep their size and
    a pretrained model is forgotten like any other. The classifier itself is left as it was.

    Args:
        classifier: fitted.
        seed: of the draws.
    """
    drawn = copy.copy(classifier)
    drawn.model_ = copy.deepcopy(classifier.model_)
    generator = torch.Generator().manual_seed(seed)
    stages = _stages(drawn.model_)
    for stage, parameters in stages.items():
        with torch.no_grad():
            for parameter in parameters:
                _draw(parameter, generator)
        shown = copy.copy(drawn)
        shown.model_ = copy.deepcopy(drawn.model_)
        yield stage, shown


def _stages(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters of each stage, in the order in which they are drawn."""
    readout: list[nn.Parameter] = []
    blocks: dict[int, list[nn.Parameter]] = {}
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        block = BLOCK.search(name)
        if name.startswith("readout."):
            readout.append(parameter)
        elif block is not None:
            blocks.setdefault(int(block[1]), []).append(parameter)
        else:
            rest.append(parameter)
    downwards = {f"block {number + 1}": blocks[number] for number in sorted(blocks, reverse=True)}
    return {"readout": readout, **downwards, "embedding": rest}


def _draw(parameter: nn.Parameter, generator: torch.Generator) -> None:
    spread = float(parameter.std(correction=0)) if parameter.numel() > 1 else 0.0
    noise = torch.randn(parameter.shape, generator=generator).to(parameter)
    parameter.copy_(parameter.mean() + spread * noise)
