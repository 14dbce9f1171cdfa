"""Picture towers in 8-bit integers, for CPUs: exported, quantised after training, and run by OpenVINO.

The tower is exported by `torch.export`, converted, and quantised by NNCF with ranges measured on some
pictures (Jacob et al. 2018, arXiv 1712.05877; outliers are moved into the weights as in SmoothQuant, Xiao et
al. 2023, arXiv 2211.10438). The result is kept in the cache folder, by the fingerprint of the model.

Shape suffixes: B batch, C channels, H W pixels, E joint space.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import itertools
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from data.cache_folder import cache_folder
from data.errors import BadFileError, MissingDependencyError, ParameterError
from vision.optimize.convolutions import linears_to_convolutions
from vision.optimize.sealed_folder import read_sealed, sealed_folder

if TYPE_CHECKING:
    from vision.backbones import Backbone, Preprocess

# Raise it whenever the recipe below changes.
FORMAT = 1
GRAPH = "model.xml"
# Ranges settle early: more pictures change no cosine in the third digit, and calibration takes their forward.
CALIBRATION_PICTURES, CALIBRATION_BATCH = 64, 16
# Lengths of batches that graphs are compiled for: with lengths left open they are up to half as slow again.
PIECES = (16, 4, 1)
# Instructions that multiply and add bytes in one step, by the names of `torch.cpu.get_capabilities`.
DOT_PRODUCTS = ("avx512_vnni", "avx_vnni", "amx_int8")


class Int8Embedder:
    """A backbone whose pictures go through 8-bit integers; all else is the backbone's own.

    Its vectors lie close to the backbone's, and are not the same: it has a fingerprint of its own, the
    backbone's with the digest of the quantised weights and of the recipe behind a "+".
    """

    def __init__(self, backbone: Backbone, model: Any, digest: str):
        self.backbone = backbone
        self.fingerprint = f"{backbone.fingerprint}+int8-{digest[:16]}"
        self.device = torch.device("cpu")
        self._model = model
        self._requests: dict[int, Any] = {}
        self._lock = threading.Lock()  # one request holds one batch

    @property
    def name(self) -> str:
        """The backbone's."""
        return self.backbone.name

    @property
    def output_dim(self) -> int:
        """E, the length of a vector."""
        return self.backbone.output_dim

    @property
    def has_text(self) -> bool:
        """Whether `encode_text` works."""
        return self.backbone.has_text

    @property
    def preprocess(self) -> Preprocess:
        """The backbone's."""
        return self.backbone.preprocess

    def encode_image(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Preprocessed pixels (B, C, H, W) -> unit vectors (B, E), fp32.

        Raises:
            ParameterError: pixels of another size than `preprocess` gives.
        """
        expected = (3, *self.backbone.image_size)
        if pixels_BCHW.ndim != 4 or pixels_BCHW.shape[1:] != expected:
            raise ParameterError("pixels", must_be=f"of shape (B, *{expected})", got=tuple(pixels_BCHW.shape))
        if not len(pixels_BCHW):
            return torch.zeros(0, self.output_dim)
        parts = pixels_BCHW.float().cpu().split(piece_sizes(len(pixels_BCHW)))  # type: ignore[no-untyped-call]
        return torch.cat([self._encode(part_BCHW.contiguous().numpy()) for part_BCHW in parts])

    def encode_text(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences -> unit vectors (B, E), fp32: the backbone's own."""
        return self.backbone.encode_text(sentences)

    def _encode(self, pixels_BCHW: npt.NDArray[np.float32]) -> torch.Tensor:
        """One of the pieces, by a graph that is compiled for its size when it is first wanted."""
        size = len(pixels_BCHW)
        with self._lock:
            if size not in self._requests:
                self._requests[size] = _compiled(self._model, size).create_infer_request()
            # Copied: the next batch takes the same memory.
            return torch.from_numpy(np.array(self._requests[size].infer([pixels_BCHW])[0]))


def piece_sizes(count: int) -> list[int]:
    """A batch as a sum of `PIECES`, largest first."""
    sizes = []
    for piece in PIECES:
        sizes += [piece] * (count // piece)
        count %= piece
    return sizes


def quantize(backbone: Backbone, pictures: Iterable[npt.NDArray[np.uint8]]) -> Int8Embedder:
    """Quantise a backbone's picture tower, and keep the result in the cache folder, whole or not at all.

    Args:
        backbone: any kind; it is left as it is.
        pictures: 8-bit pixels (3, H, W) each, as `backbone.preprocess.pixels` gives them, of the kind that
            will be embedded; the first 64 are used.

    Raises:
        MissingDependencyError: OpenVINO or NNCF is not installed.
        ParameterError: no pictures, or a tower that cannot be exported.
        BadFileError: the cache folder cannot be written.
    """
    _require("openvino", "nncf")
    import openvino  # type: ignore[import-untyped]

    batches = _calibration(backbone, pictures)
    model = _quantised(_converted(backbone), batches, _has_attention(backbone))
    fields = {"made_for": _made_for(backbone), "recipe": _recipe(sum(map(len, batches)))}
    folder = _folder(backbone)
    try:
        with sealed_folder(folder, fields) as draft:
            openvino.save_model(model, draft / GRAPH, compress_to_fp16=False)
    except OSError as error:
        do = "set CHIASM_CACHE to a folder that is"
        raise BadFileError("cache folder", must_be="writable", got=str(error), do=do, path=folder) from error
    embedder = load_int8(backbone)
    if embedder is None:
        do = "check the disk"
        raise BadFileError("quantised model", must_be="readable", got="another", do=do, path=folder)
    return embedder


def load_int8(backbone: Backbone) -> Int8Embedder | None:
    """What `quantize` made of that very backbone; None where it was not yet, or what there is is damaged.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
    """
    _require("openvino")
    record = read_sealed(_folder(backbone))
    if record is None or record.get("made_for") != _made_for(backbone):
        return None
    import openvino

    model = openvino.Core().read_model(_folder(backbone) / GRAPH)
    return Int8Embedder(backbone, model, record["digest"])


def _compiled(model: Any, batch: int) -> Any:
    """The graph for batches of that length and this CPU."""
    import openvino

    model = model.clone()
    model.reshape([batch, *(axis.get_length() for axis in list(model.input(0).partial_shape)[1:])])
    if lacks_dot_products():
        linears_to_convolutions(model)
    # fp32 for what is not quantised: elsewhere than on this CPU it might be bfloat16, and vectors differ.
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    options |= {"INFERENCE_NUM_THREADS": str(torch.get_num_threads())}
    return openvino.Core().compile_model(model, "CPU", options)


def lacks_dot_products() -> bool:
    """Whether this is an x86 CPU that has no instructions for products of bytes."""
    capabilities = torch.cpu.get_capabilities()
    x86 = capabilities.get("architecture") == "x86_64"
    return x86 and not any(capabilities.get(name) for name in DOT_PRODUCTS)


class _PictureTower(torch.nn.Module):
    """Normalised pixels -> unit vectors: what is exported of a backbone."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """Pixels (B, C, H, W) -> unit vectors (B, E)."""
        return self.backbone.encode_image(pixels_BCHW)


def converted(backbone: Backbone) -> Any:
    """The picture tower as an `openvino.Model` in fp32, for batches of any length.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
        ParameterError: the tower cannot be exported.
    """
    _require("openvino")
    return _converted(backbone)


def _converted(backbone: Backbone) -> Any:
    import openvino

    if backbone.device.type != "cpu" or backbone.dtype != torch.float32:
        backbone = copy.deepcopy(backbone).to(device="cpu", dtype=torch.float32)
    height, width = backbone.image_size
    example_BCHW = torch.zeros(2, 3, height, width)
    backbone.encode_image(example_BCHW)  # halves that are loaded on first use are loaded now
    batch = {"pixels_BCHW": {0: torch.export.Dim("batch", min=1, max=4096)}}
    try:
        with torch.no_grad(), _without_fast_path():
            program = torch.export.export(
                _PictureTower(backbone).eval(), (example_BCHW,), dynamic_shapes=batch, strict=False
            )
        model = openvino.convert_model(program, input=[([-1, 3, height, width])])
    except Exception as error:  # whatever the two libraries raise
        found = f"{backbone.name}, of which they say: {str(error).strip().splitlines()[0]}"
        raise ParameterError("model", must_be="one that torch.export and OpenVINO take", got=found) from error
    return model


def _quantised(model: Any, batches: list[npt.NDArray[np.float32]], has_attention: bool) -> Any:
    with _quiet():
        import nncf  # type: ignore[import-untyped]

        return nncf.quantize(
            model,
            nncf.Dataset(batches),
            model_type=nncf.ModelType.TRANSFORMER if has_attention else None,
            subset_size=len(batches),
            # Weights of 7 bits: products of 8 by 8 would overflow where there are no dot products (AVX2).
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )


def _has_attention(backbone: Backbone) -> bool:
    parts = (module for module in backbone.modules() if module is not backbone)
    return any(hasattr(part, "num_heads") for part in parts)


def _calibration(
    backbone: Backbone, pictures: Iterable[npt.NDArray[np.uint8]]
) -> list[npt.NDArray[np.float32]]:
    """Normalised batches of the first pictures."""
    some = [torch.from_numpy(picture) for picture in itertools.islice(pictures, CALIBRATION_PICTURES)]
    if not some:
        do = "index a folder with pictures that can be read"
        raise ParameterError("pictures to calibrate on", must_be="at least one", got="none", do=do)
    pixels_BCHW = backbone.preprocess.normalise(torch.stack(some)).numpy()
    starts = range(0, len(some), CALIBRATION_BATCH)
    return [pixels_BCHW[start : start + CALIBRATION_BATCH] for start in starts]


def _recipe(pictures: int) -> dict[str, Any]:
    versions = {package: metadata.version(package) for package in ("openvino", "nncf", "torch")}
    return {"pictures": pictures, "weights": "7 bits", **versions}


def _made_for(backbone: Backbone) -> list[Any]:
    return [FORMAT, backbone.fingerprint]


def _folder(backbone: Backbone) -> Path:
    return cache_folder() / "int8" / re.sub(r"[^\w.-]", "_", backbone.fingerprint)


def _require(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(
                f"package {package}",
                must_be="installed for 8-bit integers",
                got="nothing of that name",
                do="run `pip install 'chiasm[cpu]'`",
            )


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """torch's fused attention cannot be exported."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF draws bars on standard output, and logs what it does."""
    was = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(was)
