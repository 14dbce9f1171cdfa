"""Training on labels: what is drawn, what learns by each method, and who is watched."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from data.errors import ParameterError
from neuro.model import BrainTransformer, run_logit
from neuro.tokens import collate
from neuro.training.augment import AugmentConfig
from neuro.training.clips import LabelledClips
from neuro.training.config import Adaptation, MachineConfig, OptimizerConfig, TrainingConfig
from neuro.training.frozen import FrozenClips, FrozenReadout
from neuro.training.held_out import Who, held_out
from neuro.training.supervised import Classification, train

from .toy_runs import toy_cohort, toy_model

QUICK = TrainingConfig(epochs=2, batch_size=8, optimizer=OptimizerConfig(learning_rate=1e-2))
RUNS, LABELS = toy_cohort(20)


def clips(**options: object) -> LabelledClips:
    return LabelledClips(runs=RUNS, labels=LABELS, config=replace(QUICK, **options), seed=5)  # type: ignore[arg-type]


def state(model: BrainTransformer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before: dict[str, torch.Tensor], model: BrainTransformer) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_each_run_comes_once_for_each_of_its_clips() -> None:
    order = clips(clips=3).order(epoch=1)
    assert sorted(order) == sorted(list(range(20)) * 3)
    assert order.tolist() != clips(clips=3).order(epoch=2).tolist()


@pytest.mark.parametrize(
    "options",
    [{}, {"mixup": 0.7}, {"augment": AugmentConfig(frame_jitter=0.3, noise=0.5, amplitude=0.2)}],
)
def test_a_sample_is_the_same_in_whatever_company(options: dict[str, object]) -> None:
    """The twin of several processes, and of parts of a batch."""
    examples = clips(**options)
    places = list(range(7))  # the first of three batches
    whole = examples.batch(places, 4)
    for place in places:
        alone = examples.batch([place], 4)
        count = int(alone.tokens.mask_BN.sum())
        torch.testing.assert_close(whole.tokens.signal_BNV[place, :count], alone.tokens.signal_BNV[0, :count])
        torch.testing.assert_close(
            whole.tokens.amplitude_BSP[place, :count], alone.tokens.amplitude_BSP[0, :count]
        )
        assert whole.target_B[place] == alone.target_B[0]
    other = examples.batch(places, 5)
    assert not torch.equal(whole.tokens.signal_BNV[:, :6], other.tokens.signal_BNV[:, :6])


def test_mixed_clips_have_soft_targets() -> None:
    """The targets say how much of a patient is in each clip, by the shares of the places that were mixed."""
    examples = clips(mixup=0.7)
    targets = examples.batch(range(7), 0).target_B
    assert set(targets.tolist()) - {0.0, 1.0}
    assert ((targets >= 0) & (targets <= 1)).all()
    plain = LABELS[examples.order(0)[:7]]
    share = {float(t) for t, label in zip(targets, plain, strict=True) if label == 1 and t < 1}
    rest = {float(1 - t) for t, label in zip(targets, plain, strict=True) if label == 0 and t > 0}
    assert len({round(value, 5) for value in share | rest}) == 1


@pytest.mark.parametrize("positives", [5, 15])
def test_classes_pull_equally_whatever_their_counts(positives: int) -> None:
    """At the start all logits are 0: the two classes' pulls on the bias cancel over the whole cohort."""
    labels = (np.arange(20) < positives).astype(np.int64)
    examples = LabelledClips(runs=RUNS, labels=labels, config=QUICK, seed=0)
    model = toy_model(RUNS[0])
    losses_B = Classification(model, (20 - positives) / positives)(examples.batch(range(20), 0))
    losses_B.sum().backward()
    assert model.readout.bias.grad is not None
    assert abs(float(model.readout.bias.grad)) < 1e-5
    # … and `train` uses that weight: its first loss is ln 2 for each run, times the run's weight.
    progress = train(toy_model(RUNS[0]), RUNS, labels, replace(QUICK, epochs=1, batch_size=20), seed=0)
    assert progress.step_losses[0] == pytest.approx(np.log(2) * 2 * (20 - positives) / 20, rel=1e-5)


def test_lora_changes_the_blocks_and_leaves_a_plain_model() -> None:
    model = toy_model(RUNS[0])
    before, names = state(model), sorted(model.state_dict())
    train(model, RUNS, LABELS, replace(QUICK, adaptation=Adaptation(method="lora")), seed=0)
    assert sorted(model.state_dict()) == names
    touched = changed(before, model)
    assert any(name.endswith("attn.qkv.weight") for name in touched)
    assert not any(name.endswith("qkv.bias") or "norm" in name for name in touched)
    assert any(name.startswith("readout.") for name in touched)
    assert any(name.startswith("encoder.embedding.") for name in touched)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("method", "readout", "augment"),
    [
        ("linear", "regions", AugmentConfig()),
        ("linear", "mean", AugmentConfig()),
        ("linear", "places", AugmentConfig()),
        ("linear", "class", AugmentConfig(noise=0.1)),
        ("attentive", "attention", AugmentConfig()),
    ],
)
def test_a_probe_leaves_the_encoder_as_it_was(method: str, readout: str, augment: AugmentConfig) -> None:
    model = toy_model(RUNS[0], readout=readout, drop_path=0.5)
    before = state(model)
    adaptation = Adaptation(method=method)  # type: ignore[arg-type]
    config = replace(QUICK, epochs=10, adaptation=adaptation, augment=augment)
    progress = train(model, RUNS, LABELS, config, seed=0)
    assert changed(before, model)
    assert all(name.startswith("readout.") for name in changed(before, model))
    assert progress.epoch_losses[-1] < progress.epoch_losses[0]


def test_all_of_a_model_that_reads_places_can_be_trained() -> None:
    model = toy_model(RUNS[0], readout="places")
    before = state(model)
    progress = train(model, RUNS, LABELS, replace(QUICK, epochs=6), seed=0)
    assert {"readout.matter.nodes_1RZYX", "readout.offset"} < changed(before, model)
    assert progress.epoch_losses[-1] < progress.epoch_losses[0]


def test_a_frozen_encoder_drops_nothing() -> None:
    objective = Classification(toy_model(RUNS[0], drop_path=0.5), 1.0)
    assert objective.train().model.encoder.training  # type: ignore[union-attr]
    objective.model.encoder.requires_grad_(False)  # type: ignore[operator, union-attr]
    assert not objective.train().model.encoder.training  # type: ignore[union-attr]
    assert objective.model.readout.training  # type: ignore[union-attr]


def test_features_computed_once_are_what_the_model_says() -> None:
    """The readout on kept features against the whole model on the same clips, padding and all."""
    model = toy_model(RUNS[0]).eval()
    train(model, RUNS, LABELS, QUICK, seed=0)
    examples = clips()
    frozen = FrozenClips.of(model, examples)
    batch = frozen.batch(range(9), 3)
    assert batch.tokens.batch.padded
    said_B = FrozenReadout(model)(batch.tokens)
    wanted = []
    for place in range(9):
        number = int(examples.order(3)[place])
        rng = np.random.default_rng([examples.seed, 3, place])
        starts = RUNS[number].clip_starts()
        clip = RUNS[number].clip(starts[int(rng.integers(len(starts)))])
        wanted.append(float(model(collate([clip])).detach()))
    torch.testing.assert_close(said_B.detach(), torch.tensor(wanted), rtol=1e-4, atol=1e-5)
    assert torch.equal(batch.target_B, torch.from_numpy(LABELS[examples.order(3)[:9]]).float())


def test_a_method_wants_its_readout() -> None:
    with pytest.raises(ParameterError, match="readout must be attention for the method attentive"):
        train(
            toy_model(RUNS[0]),
            RUNS,
            LABELS,
            replace(QUICK, adaptation=Adaptation(method="attentive")),
            seed=0,
        )
    attends = toy_model(RUNS[0], readout="attention")
    with pytest.raises(ParameterError, match="must be regions, places, class or mean for the method linear"):
        train(attends, RUNS, LABELS, replace(QUICK, adaptation=Adaptation(method="linear")), seed=0)


def test_it_learns_with_all_that_can_be_asked_of_it() -> None:
    config = TrainingConfig(
        epochs=12,
        clips=2,
        mixup=0.1,
        ema=0.9,
        validation_share=0.2,
        patience=10,
        optimizer=OptimizerConfig(learning_rate=1e-2, layer_decay=0.8),
        augment=AugmentConfig(frame_jitter=0.1, noise=0.1),
        machine=MachineConfig(micro_batch=4, checkpointing=True),
    )
    runs, labels = toy_cohort(40)
    model = toy_model(runs[0], drop_path=0.1)
    people = np.array([f"p{i}" for i in range(40)], object)
    progress = train(model, runs, labels, config, seed=0, who=Who(people=people))
    unseen, truth = toy_cohort(30, first=500)
    assert roc_auc_score(truth, [run_logit(model, run) for run in unseen]) > 0.9
    assert progress.best is not None


def test_a_checkpointed_encoder_learns_the_same() -> None:
    plain, again = toy_model(RUNS[0]), toy_model(RUNS[0])
    found = train(again, RUNS, LABELS, replace(QUICK, machine=MachineConfig(checkpointing=True)), seed=0)
    expected = train(plain, RUNS, LABELS, QUICK, seed=0)
    np.testing.assert_allclose(found.step_losses, expected.step_losses, rtol=1e-6)
    assert again.encoder.checkpointing


def test_whole_persons_are_held_out_of_each_label_and_site() -> None:
    people = np.array([f"p{i // 2}" for i in range(80)], object)
    labels = np.arange(80) // 2 % 2
    sites = np.array(["A" if i < 40 else "B" for i in range(80)], object)
    trained, watched = held_out(labels, Who(people=people, sites=sites), 0.25, seed=1)
    assert sorted([*trained, *watched]) == list(range(80))
    assert not set(people[trained]) & set(people[watched])
    assert len(set(people[watched])) == 10
    for label in (0, 1):
        for site in "AB":
            assert 2 <= len(set(people[watched][(labels[watched] == label) & (sites[watched] == site)])) <= 3


def test_who_is_watched_is_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    people = np.array([f"p{i}" for i in range(20)], object)
    config = replace(QUICK, epochs=3, validation_share=0.2)
    trained, watched = held_out(LABELS, Who(people=people), 0.2, seed=7)
    plain = LabelledClips._clip

    def noting(self: LabelledClips, number: int, epoch: int, place: int) -> object:
        seen.add(self.runs[number].run_id)
        return plain(self, number, epoch, place)

    monkeypatch.setattr(LabelledClips, "_clip", noting)
    progress = train(toy_model(RUNS[0]), RUNS, LABELS, config, seed=7, who=Who(people=people))
    assert seen == {RUNS[i].run_id for i in trained}
    assert len(watched) == 4
    assert all("validation" in record for record in progress.epochs)


def test_people_must_be_known_and_enough_to_be_held_out() -> None:
    config = replace(QUICK, validation_share=0.2)
    with pytest.raises(ParameterError, match="groups must be given"):
        train(toy_model(RUNS[0]), RUNS, LABELS, config, seed=0)
    few = Who(people=np.array(list("abcdefgh"), object))
    with pytest.raises(ParameterError, match=r"validation_share must be .* the rarest has 4, got 0\.2"):
        train(toy_model(RUNS[0]), RUNS[:8], LABELS[:8], config, seed=0, who=few)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": 0}, "epochs must be a positive integer"),
        ({"patience": 3}, "patience must be left out without a validation"),
        ({"validation_share": 0.7}, "validation_share must be a share from 0 to 0.5"),
        ({"ema": 1.0}, "ema must be 0 or more and below 1"),
        ({"mixup": -1.0}, "mixup must be 0 or more"),
    ],
)
def test_training_that_cannot_work_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        TrainingConfig(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"method must be one of .* got 'lorra'; did you mean lora\?"):
        Adaptation(method="lorra")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="layer_decay"):
        OptimizerConfig(layer_decay=0)
    with pytest.raises(ParameterError, match="micro_batch"):
        MachineConfig(micro_batch=0)
