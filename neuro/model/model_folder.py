"""A model in a folder, its trunk in one of its own: how encoders and classifiers are written and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from data.errors import BadFileError
from data.writing import whole_folder
from neuro.model.config import ModelConfig
from neuro.model.encoder import BrainEncoder
from neuro.model.transformer import BrainTransformer
from neuro.options_from import options_from
from neuro.tokens.kinds import spec_as_dict
from neuro.tokens.run_tokens import TokenLayout, TokenSpec
from vision.backbones import load_backbone, save_backbone

BACKBONE = "backbone"

Model = TypeVar("Model", BrainEncoder, BrainTransformer)


@dataclass(frozen=True, kw_only=True)
class Form(Generic[Model]):
    """A kind of folder.

    Attributes:
        model: what it holds.
        description, weights: names of its files.
        version: of what they hold.
        trunk: what the names of the trunk's state begin with.
    """

    model: type[Model]
    description: str
    weights: str
    version: int
    trunk: str

    def lies_in(self, folder: Path) -> bool:
        """Whether a folder is of this kind, whole or not."""
        return (folder / self.description).is_file()

    def write(self, model: Model, spec: TokenSpec, folder: str | Path, **told: Any) -> Path:
        """Write a model into a new or empty folder, whole or not at all.

        Args:
            model: as it is now.
            spec: how the runs are cut that it takes.
            folder: where to.
            told: what else its description says.

        Raises:
            ParameterError: the folder holds something.
        """
        import timm
        from safetensors.torch import save_file

        encoder = model.encoder if isinstance(model, BrainTransformer) else model
        with whole_folder(folder) as draft:
            save_backbone(encoder.backbone, draft / BACKBONE)
            state = {k: v for k, v in model.state_dict().items() if not k.startswith(self.trunk)}
            # Cloned, as two names of one tensor are refused.
            state = {k: v.detach().cpu().clone().contiguous() for k, v in state.items()}
            save_file(state, draft / self.weights)
            facts = {
                "format": self.version,
                "tokens": spec_as_dict(spec),
                "layout": asdict(encoder.layout),
                "config": asdict(encoder.config),
                "fingerprint": encoder.backbone.fingerprint,
                "libraries": {"torch": torch.__version__, "timm": timm.__version__},
                **told,
            }
            (draft / self.description).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        return Path(folder)

    def read(self, folder: Path, device: str) -> tuple[Model, dict[str, Any]]:
        """A private copy of the model, in evaluation mode, and its description.

        Raises:
            Exception: of any kind that `damage_told` tells, where the folder is damaged.
        """
        from safetensors.torch import load_file

        facts = json.loads((folder / self.description).read_text(encoding="utf-8"))
        require_format(facts, self.version)
        backbone = load_backbone(f"local:{folder / BACKBONE}", device=device, shared=False)
        config = options_from(ModelConfig, facts["config"], "config")
        model = self.model(backbone, TokenLayout.from_facts(facts["layout"]), config)
        state = load_file(folder / self.weights)
        state |= {self.trunk + key: value for key, value in backbone.state_dict().items()}
        model.load_state_dict(state)
        return model.to(backbone.device).eval(), facts


ENCODER = Form(
    model=BrainEncoder,
    description="encoder.json",
    weights="encoder.safetensors",
    version=1,
    trunk="backbone.",
)
CLASSIFIER = Form(
    model=BrainTransformer,
    description="classifier.json",
    weights="brain.safetensors",
    version=3,
    trunk="encoder.backbone.",
)


def require_format(facts: Mapping[str, Any], version: int) -> None:
    """Say no to a description of another version, for `damage_told` to tell."""
    if facts["format"] != version:
        raise ValueError(f"format {facts['format']}, of another version of Chiasm")


@contextmanager
def damage_told(what: str, *, must_be: str, do: str, path: str | Path) -> Iterator[None]:
    """Tell whatever goes wrong while a folder is read in one line, as BadFileError.

    Raises:
        BadFileError: names `path` and what was found there.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        line = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        got = error.got if isinstance(error, BadFileError) else line
        raise BadFileError(what, must_be=must_be, got=got, do=do, path=path) from error
