"""What `vision models` lists: every name that `load_backbone` can take, and what it would need."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vision.backbones import open_clip_data
from vision.backbones.weights import clip_files, is_cached, timm_files


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One name; `str()` of it is a line for a terminal.

    Args:
        name: what `load_backbone` takes.
        kind: "embedded", "clip" or "timm".
        has_text: whether it finds pictures by sentences.
        has_tokens: whether brains can be read with it; None where only building it would tell.
        output_dim: width of its vectors, None where only building it would tell.
        needs_hub: whether its weights come from the hub.
        cached: whether they are here already.
    """

    name: str
    kind: str
    has_text: bool
    has_tokens: bool | None
    output_dim: int | None
    needs_hub: bool
    cached: bool

    def __str__(self) -> str:
        width = f"{self.output_dim} numbers" if self.output_dim else ""
        place = "needs no hub" if not self.needs_hub else "in the cache" if self.cached else "from the hub"
        return f"{self.name:<60} {width:<14} {place}".rstrip()


def known_models() -> list[KnownModel]:
    """The embedded model, every open_clip architecture and tag, and timm's pretrained Vision Transformers.

    `timm:` takes all of timm's other models too (pictures only), `local:` any checkpoint, `scratch:` any timm
    architecture; those are not listed.
    """
    lite = KnownModel(
        name="embedded:lite",
        kind="embedded",
        has_text=True,
        has_tokens=False,
        output_dim=384,
        needs_hub=False,
        cached=True,
    )
    return [lite, *_clip_models(), *_timm_models()]


def _clip_models() -> Iterator[KnownModel]:
    for name in open_clip_data.tagged_names():
        arch, tag = name.split("/")
        config = open_clip_data.architecture(arch)
        vision = config["vision_cfg"]
        own_vit = "timm_model_name" not in vision and isinstance(vision.get("layers", 12), int)
        yield KnownModel(
            name=f"clip:{name}",
            kind="clip",
            has_text=True,
            has_tokens=own_vit or None,
            output_dim=config["embed_dim"],
            needs_hub=True,
            cached=is_cached(*clip_files(open_clip_data.tag_config(arch, tag))),
        )


def _timm_models() -> Iterator[KnownModel]:
    import timm

    for name in timm.list_models(module="vision_transformer", pretrained=True):
        config = timm.get_pretrained_cfg(name)
        if config.hf_hub_id:
            yield KnownModel(
                name=f"timm:{name}",
                kind="timm",
                has_text=False,
                has_tokens=None,
                output_dim=None,
                needs_hub=True,
                cached=is_cached(*timm_files(config)),
            )
