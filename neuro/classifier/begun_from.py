"""A classifier that begins with an encoder that was pretrained or trained before; its readout is new."""

from __future__ import annotations

from dataclasses import replace

from data.errors import ParameterError
from neuro.model import BrainTransformer, ModelConfig
from neuro.model.encoder_folder import load_encoder
from neuro.tokens import TokenLayout

ENCODERS = ("backbone", "positions", "attention")  # choices that are made with an encoder


def begun_from(
    folder: str, layout: TokenLayout, wanted: ModelConfig | None = None, *, device: str = "auto"
) -> BrainTransformer:
    """A Transformer with the encoder's weights, and a readout from scratch.

    Args:
        folder: that `neuro pretrain`, `neuro train` or `ParkinsonClassifier.save` wrote.
        layout: of the tokens that it is to take.
        wanted: readout and drop path. Of what the encoder already is, only defaults or the same may be said.
        device: "auto" takes cuda, then mps, then cpu.

    Raises:
        BadFileError: the folder is none of these, or damaged.
        ParameterError: another layout, or another encoder was asked for.
    """
    encoder, _ = load_encoder(folder, device=device, layout=layout)
    wanted, plain = wanted or ModelConfig(), ModelConfig()
    for name in ENCODERS:
        asked, there = getattr(wanted, name), getattr(encoder.config, name)
        if asked not in (there, getattr(plain, name)):
            raise ParameterError(
                f"model.{name}",
                must_be=f"{there}, as that of the encoder in {folder}, or left out",
                got=asked,
            )
    own = {name: getattr(encoder.config, name) for name in ENCODERS}
    model = BrainTransformer(encoder.backbone, layout, replace(wanted, **own))
    model.encoder.load_state_dict(encoder.state_dict())
    return model.to(encoder.backbone.device)
