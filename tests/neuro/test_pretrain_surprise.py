"""How badly places are guessed: against loops, by cells, and that what follows the rest surprises less."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.caches.cache import Cache
from data.errors import ParameterError
from neuro.model import BrainEncoder, ModelConfig
from neuro.pretrain.blend import BlendedClips
from neuro.pretrain.masked import MaskedBatch, MaskedConfig, MaskedModelling
from neuro.pretrain.masking import Mask, MaskConfig
from neuro.pretrain.pools import Pool
from neuro.pretrain.surprise import _dealt, run_surprise
from neuro.pretrain.views import MaskedView
from neuro.tokens import RunTokens, TubeletSpec, collate, cut, parcel_tokens_of_array
from neuro.tokens.parcels import ParcelSpec
from neuro.training.augment import AugmentConfig
from neuro.training.config import OptimizerConfig, TrainingConfig
from neuro.training.loop import fit
from vision.backbones import load_backbone

from .conftest import TINY_BACKBONE

REGIONS, FRAMES = 12, 10
LONER = 7  # the region that follows nobody


def modelling(runs: list[RunTokens]) -> MaskedModelling:
    torch.manual_seed(0)
    config = ModelConfig(backbone=TINY_BACKBONE)
    encoder = BrainEncoder(load_backbone(TINY_BACKBONE, shared=False), runs[0].layout, config)
    return MaskedModelling(encoder, MaskedConfig(amplitude_weight=0, depth=1))


def network_runs(count: int, seed: int = 0) -> list[RunTokens]:
    """Eleven regions share one time course, and one has its own."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(count):
        shared_T1 = rng.standard_normal((4 * FRAMES, 1))
        series_TR = shared_T1 + 0.1 * rng.standard_normal((4 * FRAMES, REGIONS))
        series_TR[:, LONER] = rng.standard_normal(4 * FRAMES)
        spec = ParcelSpec(atlas="array", frames=FRAMES)
        runs.append(parcel_tokens_of_array(series_TR, spec, run_id=f"run-{number}"))
    return runs


def test_errors_against_one_place_at_a_time() -> None:
    runs = network_runs(2)
    objective = modelling(runs).eval()
    found = run_surprise(objective, runs, parts=3, seed=5)
    assert found.shape == (2, REGIONS)
    for run, row in zip(runs, found, strict=True):
        for hidden in _dealt(REGIONS, 3, 5):
            seen = [place for place in range(REGIONS) if place not in hidden]
            for place in hidden:
                errors = []
                for clip in run.clips():
                    mask = Mask(
                        visible_BK=torch.tensor([seen]),
                        hidden_BH=torch.tensor([hidden.tolist()]),
                        real_BH=torch.ones(1, len(hidden), dtype=torch.bool),
                    )
                    batch = MaskedBatch(tokens=collate([clip]), mask=mask)
                    with torch.no_grad():
                        signal_BH, _ = objective.place_errors(batch)
                    errors.append(float(signal_BH[0, hidden.tolist().index(place)]))
                assert row[place] == pytest.approx(np.mean(errors), rel=1e-4)


def test_place_errors_average_to_the_loss() -> None:
    runs = network_runs(3)
    objective = modelling(runs).eval()
    view = MaskedView(mask=MaskConfig(ratio=0.5), fewest=REGIONS, augment=AugmentConfig())
    pool = Pool(name="x", runs=runs, people=np.array(list("abc"), dtype=object))
    batch = BlendedClips(pools=[pool], weights=[1], samples=3, view=view).batch(range(3), 0)
    with torch.no_grad():
        signal_BH, _ = objective.place_errors(batch)
        torch.testing.assert_close(signal_BH.mean(1), objective(batch))


def test_a_region_that_follows_nobody_surprises_most() -> None:
    runs = network_runs(12)
    objective = modelling(runs)
    view = MaskedView(mask=MaskConfig(ratio=0.25), fewest=REGIONS, augment=AugmentConfig())
    pool = Pool(name="x", runs=runs, people=np.array([r.run_id for r in runs], dtype=object))
    clips = BlendedClips(pools=[pool], weights=[1], samples=48, view=view)
    unseen = network_runs(3, seed=1)
    before = run_surprise(objective, unseen)
    training = TrainingConfig(epochs=40, batch_size=8, optimizer=OptimizerConfig(learning_rate=5e-3))
    fit(objective, clips, training, seed=0)
    after = run_surprise(objective, unseen)
    others = [region for region in range(REGIONS) if region != LONER]
    assert after[:, others].mean() < 0.5 * before[:, others].mean()
    assert (after[:, LONER, None] > 1.5 * after[:, others]).all()
    assert objective.training is False


def test_cubes_are_averaged_by_cells(cache: Cache) -> None:
    runs = [cut(cache, i, TubeletSpec(patch_mm=32, frames=10)) for i in range(2)]
    objective = modelling(runs)
    found = run_surprise(objective, runs, cell_mm=60)
    assert found.shape[0] == 2
    assert 4 < found.shape[1] < len(runs[0].centres_S3)
    assert np.isfinite(found).all()
    with pytest.raises(ParameterError, match="give cell_mm"):
        run_surprise(objective, runs)


@pytest.mark.parametrize("parts", [1, REGIONS + 1])
def test_parts_that_leave_nothing_are_refused(parts: int) -> None:
    runs = network_runs(1)
    with pytest.raises(ParameterError, match="parts must be from 2 to the 12 places"):
        run_surprise(modelling(runs), runs, parts=parts)
