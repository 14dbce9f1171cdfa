"""What an open_clip text tower needs besides weights: a tokenizer, and at times the hub's configuration."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import open_clip

from data.errors import MissingDependencyError
from vision.backbones.weights import fetch, unreachable


def build_tokenizer(text_cfg: Mapping[str, Any], folder: Path | None) -> Any:
    """open_clip's tokenizer for a text tower: sentences -> ids (B, L).

    Args:
        text_cfg: the tower's part of open_clip's description of the architecture.
        folder: where a Hugging Face tokenizer was saved; without one it comes from the cache or the hub.

    Raises:
        MissingDependencyError: the tokenizer is one of transformers', which is not installed.
        HubUnreachableError: it is neither in the cache nor to be had.
    """
    options = dict(text_cfg.get("tokenizer_kwargs", {}))
    length = text_cfg.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    source = text_cfg.get("hf_tokenizer_name")
    if not source:
        return open_clip.SimpleTokenizer(context_length=length, **options)
    _require_transformers()
    options |= {"context_length": length, "tokenizer_mode": text_cfg.get("tokenizer_mode")}
    if folder is not None:
        return open_clip.tokenizer.HFTokenizer(str(folder), **options)
    try:
        # From the cache first: transformers would ask the hub about every file, and wait for it.
        return open_clip.tokenizer.HFTokenizer(source, local_files_only=True, **options)
    except (OSError, ValueError):
        fetch(source, ["tokenizer_config.json"], wanted="the text tower's tokenizer")
    try:
        return open_clip.tokenizer.HFTokenizer(source, **options)
    except OSError as error:
        raise unreachable(source, "the text tower's tokenizer", error) from error


def require_text_config(source: str) -> None:
    """Make sure that a Hugging Face text tower's configuration is at hand, before transformers looks for it.

    Raises:
        MissingDependencyError: transformers is not installed.
        HubUnreachableError: neither in the cache nor to be had.
    """
    _require_transformers()
    fetch(source, ["config.json"], wanted="the text tower's configuration")


def _require_transformers() -> None:
    if importlib.util.find_spec("transformers") is None:
        raise MissingDependencyError(
            "package transformers",
            must_be="installed for this model's text tower",
            got="nothing of that name",
            do="run `pip install transformers`",
        )
