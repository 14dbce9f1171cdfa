"""Brains among sentences: the head, the samples, a toy training, and a model in a folder and back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.errors import BadFileError, ParameterError
from neuro.align.aligned_folder import HEAD, load_aligned, origin_of, save_aligned
from neuro.align.aligning import align, run_vector, run_vectors
from neuro.align.bank import SentenceBank, bank_of
from neuro.align.clips import AlignedClips
from neuro.align.config import AlignConfig
from neuro.align.head import RegionalPool, TextHead
from neuro.align.objective import Alignment, BrainText
from neuro.align.sentences import DiagnosisWords, SentenceConfig
from neuro.align.zero_shot import class_vectors, zero_shot_scores
from neuro.model import ModelConfig, fresh_encoder
from neuro.model.encoder_folder import load_encoder
from neuro.tokens import RunTokens, collate
from neuro.training.config import Adaptation, OptimizerConfig, TrainingConfig
from neuro.training.held_out import Who

from .toy_runs import SPEC, TINY, toy_cohort

WORDS = (
    "parkinson",
    "pd",
    "healthy",
    "woman",
    "man ",
    "sixties",
    "fifties",
    "fmri",
    "scan",
    "brain",
    "mri",
    "picture",
)


def encode(texts: list[str]) -> np.ndarray:
    """Which words are there, and a direction that all sentences share."""
    rows = [[3.0, *(word in text.lower() for word in WORDS)] for text in texts]
    return (np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def people(count: int = 24) -> pd.DataFrame:
    labels = np.arange(count) % 2
    sexes = np.array(["F", "M"])[np.arange(count) // 2 % 2]
    ages = 50 + np.arange(count) % 5 * 8.0
    return pd.DataFrame(
        {"run_id": [f"sub-{n}" for n in range(count)], "label": labels, "age": ages, "sex": sexes}
    )


@pytest.fixture(scope="module")
def runs() -> list[RunTokens]:
    return toy_cohort(24)[0]


@pytest.fixture(scope="module")
def bank() -> SentenceBank:
    return bank_of(people(), encode)


@pytest.fixture
def config() -> AlignConfig:
    training = TrainingConfig(epochs=6, clips=2, optimizer=OptimizerConfig(learning_rate=1e-2))
    return AlignConfig(tokens=SPEC, model=ModelConfig(backbone=TINY), training=training, device="cpu")


def taught(runs: list[RunTokens], bank: SentenceBank, config: AlignConfig, train: np.ndarray) -> BrainText:
    table = people()
    who = Who(people=table["run_id"].to_numpy(object))
    return align(runs, bank, config, train=train, labels=table["label"].to_numpy(), who=who)


def test_a_pool_is_the_sum_over_places_and_padding_adds_nothing(runs: list[RunTokens]) -> None:
    encoder = fresh_encoder(runs[0].layout, ModelConfig(backbone=TINY), seed=0, device="cpu")
    pool = RegionalPool(encoder, 3)
    with torch.no_grad():
        pool.matter.nodes_1RZYX.normal_()  # type: ignore[union-attr, operator]
    few, many = sorted(runs[:4], key=lambda run: len(run.centres_S3))[::3]
    assert len(few.centres_S3) < len(many.centres_S3)
    both, alone = collate([few.clip(0), many.clip(0)]), collate([few.clip(0)])
    tokens_BND = torch.randn(2, both.mask_BN.shape[1], encoder.width)
    pooled_BR = pool(tokens_BND, both)
    count = len(few.centres_S3)
    torch.testing.assert_close(pool(tokens_BND[:1, :count], alone), pooled_BR[:1])
    matter_NR, said_NR = pool.matter(both)[1], pool.say(tokens_BND[1])
    slow = sum(said_NR[n] * matter_NR[n] for n in range(len(said_NR))) * 8 / len(said_NR) ** 0.5
    torch.testing.assert_close(pooled_BR[1], slow)


def test_every_brain_begins_at_the_mean_sentence(runs: list[RunTokens], bank: SentenceBank) -> None:
    encoder = fresh_encoder(runs[0].layout, ModelConfig(backbone=TINY), seed=0, device="cpu")
    model = BrainText(encoder, TextHead(encoder, bank.vectors_SE), scale=20)
    vectors_BE = model(collate([run.clip(0) for run in runs[:3]])).detach().numpy()
    mean_E = bank.vectors_SE.mean(0)
    np.testing.assert_allclose(vectors_BE, np.tile(mean_E / np.linalg.norm(mean_E), (3, 1)), atol=1e-6)


def test_fields_go_only_where_sentences_differ(bank: SentenceBank, runs: list[RunTokens]) -> None:
    encoder = fresh_encoder(runs[0].layout, ModelConfig(backbone=TINY), seed=0, device="cpu")
    head = TextHead(encoder, bank.vectors_SE, rank=16, gain=0.1)
    centred_SE = bank.vectors_SE - bank.vectors_SE.mean(0)
    ways_KE = np.linalg.svd(centred_SE, full_matrices=False)[2][: np.linalg.matrix_rank(centred_SE, tol=1e-4)]
    weight_ER = head.out.weight.detach().numpy()
    np.testing.assert_allclose(ways_KE.T @ ways_KE @ weight_ER, weight_ER, atol=1e-5)
    assert np.abs(ways_KE[0] @ weight_ER) == pytest.approx(0.1, rel=1e-4)  # each field, one way or the other


def test_samples_are_a_function_of_seed_epoch_and_place(runs: list[RunTokens], bank: SentenceBank) -> None:
    training = TrainingConfig(clips=2)
    numbers = list(range(len(runs)))
    clips = AlignedClips(
        runs=runs, numbers=numbers, sentences=bank.of_run, config=training, brief=0.5, seed=3
    )
    assert len(clips) == 48
    whole, part = clips.batch(range(48), 1), clips.batch([5, 40], 1)
    assert part.run_B.tolist() == [int(whole.run_B[5]), int(whole.run_B[40])]
    assert part.sentence_B.tolist() == [int(whole.sentence_B[5]), int(whole.sentence_B[40])]
    assert clips.batch(range(48), 2).sentence_B.tolist() != whole.sentence_B.tolist()
    assert sorted(whole.run_B.tolist()) == sorted(numbers * 2)
    for run, sentence in zip(whole.run_B.tolist(), whole.sentence_B.tolist(), strict=True):
        assert sentence in bank.of_run[run]
    brief = replace(clips, brief=1.0).batch(range(48), 1)
    assert brief.sentence_B.tolist() == [bank.of_run[run][0] for run in brief.run_B.tolist()]


@pytest.mark.parametrize("loss", ["infonce", "siglip"])
def test_a_toy_training_tells_unseen_people_apart_by_prompts(
    runs: list[RunTokens], bank: SentenceBank, config: AlignConfig, loss: str
) -> None:
    train, test = np.arange(16), np.arange(16, 24)
    model = taught(runs, bank, replace(config, loss=loss), train)  # type: ignore[arg-type]
    assert not model.training
    vectors = run_vectors(model, [runs[i] for i in test])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    scores = zero_shot_scores(vectors, class_vectors(encode, DiagnosisWords()))
    assert min(scores[test % 2 == 1]) > max(scores[test % 2 == 0])
    again = taught(runs, bank, replace(config, loss=loss), train)  # type: ignore[arg-type]
    assert origin_of([again]) == origin_of([model])


def test_only_what_is_said_of_the_trained_people_is_heard(
    runs: list[RunTokens], bank: SentenceBank, config: AlignConfig
) -> None:
    """Other words and other truth about the people of the test fold change nothing in the model."""
    train = np.arange(16)
    config = replace(config, training=TrainingConfig(epochs=1))
    spoilt_truth = bank.truth_RS.copy()
    spoilt_truth[16:] = 1 - spoilt_truth[16:]
    unheard = np.setdiff1d(np.arange(len(bank)), bank.written_of(train))
    vectors = bank.vectors_SE.copy()
    vectors[unheard] = -vectors[unheard]
    spoilt = replace(bank, truth_RS=spoilt_truth, vectors_SE=vectors)
    assert origin_of([taught(runs, spoilt, config, train)]) == origin_of([taught(runs, bank, config, train)])


def test_a_frozen_encoder_stays_as_it_was(
    runs: list[RunTokens], bank: SentenceBank, config: AlignConfig
) -> None:
    training = replace(config.training, epochs=1, adaptation=Adaptation(method="linear"))
    frozen = replace(config, training=training)
    fresh = fresh_encoder(runs[0].layout, config.model, seed=0, device="cpu").state_dict()
    model = taught(runs, bank, frozen, np.arange(16))
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, fresh[name]), name
    assert model.head.pool.matter.nodes_1RZYX.abs().sum() > 0  # type: ignore[union-attr, operator]
    full = taught(runs, bank, replace(config, training=replace(config.training, epochs=1)), np.arange(16))
    assert any(not torch.equal(v, fresh[n]) for n, v in full.encoder.state_dict().items())


def test_watched_people_keep_the_best_epoch(
    runs: list[RunTokens], bank: SentenceBank, config: AlignConfig
) -> None:
    watched = replace(config, training=replace(config.training, epochs=3, validation_share=0.25, patience=1))
    model = taught(runs, bank, watched, np.arange(16))
    assert np.isfinite(run_vectors(model, runs[:2])).all()


def test_a_runs_vector_is_the_mean_of_its_clips(runs: list[RunTokens], bank: SentenceBank) -> None:
    encoder = fresh_encoder(runs[0].layout, ModelConfig(backbone=TINY), seed=0, device="cpu")
    model = BrainText(encoder, TextHead(encoder, bank.vectors_SE), scale=20).eval()
    with torch.no_grad():
        model.head.pool.matter.nodes_1RZYX.normal_()  # type: ignore[union-attr, operator]
        parts = [model(collate([clip]))[0].numpy() for clip in runs[0].clips()]
    assert len(parts) == 3
    mean_E = np.mean(parts, axis=0)
    np.testing.assert_allclose(run_vector(model, runs[0]), mean_E / np.linalg.norm(mean_E), atol=1e-6)


def test_the_text_stays_out_of_checkpoints_and_of_the_gradient(
    runs: list[RunTokens], bank: SentenceBank
) -> None:
    encoder = fresh_encoder(runs[0].layout, ModelConfig(backbone=TINY), seed=0, device="cpu")
    objective = Alignment(BrainText(encoder, TextHead(encoder, bank.vectors_SE), scale=20), bank)
    assert not any("vectors_SE" in name or "truth_RS" in name for name in objective.state_dict())
    assert not objective.vectors_SE.requires_grad
    assert not objective.bias.requires_grad


def test_a_model_in_a_folder_and_back(
    runs: list[RunTokens], bank: SentenceBank, config: AlignConfig, tmp_path: Path
) -> None:
    model = taught(runs, bank, replace(config, training=TrainingConfig(epochs=1)), np.arange(16))
    words = {"positive": ["PD"], "negative": []}
    facts = {"text": "t", "text_fingerprint": "f", "sentences": {"told": ["diagnosis"], "words": words}}
    save_aligned(model, SPEC, tmp_path, facts)
    found = load_aligned(tmp_path, "cpu")
    assert (found.tokens, found.text, found.text_fingerprint) == (SPEC, "t", "f")
    assert found.sentences == SentenceConfig(told=("diagnosis",), words=DiagnosisWords(positive=("PD",)))
    assert float(found.model.scale.detach()) == float(model.scale.detach())
    assert origin_of([found.model]) == origin_of([model])
    np.testing.assert_array_equal(run_vector(found.model, runs[0]), run_vector(model, runs[0]))
    load_encoder(tmp_path, device="cpu")  # for --init-from
    (tmp_path / HEAD).write_bytes(b"spoilt")
    with pytest.raises(BadFileError, match="aligned model must be a folder that `neuro align` wrote"):
        load_aligned(tmp_path, "cpu")


def test_options_are_checked() -> None:
    for options, words in (
        ({"loss": "clip"}, "loss must be one of infonce, siglip"),
        ({"rank": 0}, "rank must be positive"),
        ({"scale": 0.0}, "scale must be over 0"),
        ({"brief": 1.5}, "brief must be a share"),
        ({"training": TrainingConfig(mixup=0.2)}, "half a person has no sentence"),
        ({"training": TrainingConfig(adaptation=Adaptation(method="lora"))}, "one of full, linear, got lora"),
    ):
        with pytest.raises(ParameterError, match=words):
            AlignConfig(**options)  # type: ignore[arg-type]
