"""Files of weights: from the hub once, checked, and from its cache ever after.

The cache is Hugging Face's own: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what they
always mean. A file that lies in it is used as it is: no network, no new version behind one's back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.digest import remembered_sha256
from data.errors import BadFileError, HubUnreachableError, ParameterError

# Seconds for the hub to answer at all; the download itself may take as long as bytes keep coming.
HUB_TIMEOUT = 5.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A checked file.

    Args:
        path: where it lies.
        sha256: its digest, which has been compared with what was promised where anything was.
    """

    path: Path
    sha256: str


def fetch(repo: str, filenames: Sequence[str], *, wanted: str) -> WeightFile:
    """The first of some files that a hub repository has, from the cache or the hub, with a progress bar.

    Args:
        repo: "organisation/model".
        filenames: in order of preference.
        wanted: what for, in words; used in errors.

    Raises:
        HubUnreachableError: in no cache, and the hub is offline, refuses or does not answer within seconds.
        BadFileError: the file differs from the digest that the hub states for it.
    """
    from huggingface_hub import try_to_load_from_cache

    for filename in filenames:
        cached = try_to_load_from_cache(repo, filename)
        if isinstance(cached, str):
            return check(Path(cached), promised_sha256(Path(cached)))
    return _download(repo, filenames, wanted)


def clip_files(tag_config: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Hub repository and file names, safetensors first, of an open_clip tag."""
    repo, _, filename = tag_config["hf_hub"].rpartition("/")
    return repo, _safe_first(filename or "open_clip_pytorch_model.bin")


def timm_files(config: Any) -> tuple[str, list[str]]:
    """Hub repository and file names, safetensors first, of a timm pretrained configuration."""
    return config.hf_hub_id, _safe_first(config.hf_hub_filename or "pytorch_model.bin")


def _safe_first(filename: str) -> list[str]:
    """A file's name after that of its safetensors twin, by the hub's conventions."""
    twins = {
        "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
        "pytorch_model.bin": "model.safetensors",
    }
    stem, _, suffix = filename.rpartition(".")
    twin = twins.get(filename, f"{stem}.safetensors" if suffix in ("bin", "pt", "pth") else filename)
    return list(dict.fromkeys([twin, filename]))


def is_cached(repo: str, filenames: Sequence[str]) -> bool:
    """Whether `fetch` would need no network."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repo, name), str) for name in filenames)


def promised_sha256(path: Path) -> str | None:
    """The digest that the hub's cache states for a file: large ones are stored under it."""
    blob = path.resolve().name
    return blob if _SHA256.fullmatch(blob) else None


def check(path: Path, expected_sha256: str | None) -> WeightFile:
    """Compare a file's SHA-256 with the expected one (its beginning is enough); None only computes it.

    A file that has not changed since it was last hashed (same place, size and time) is not read again.

    Raises:
        BadFileError: the file is missing or differs.
    """
    if not path.is_file():
        raise BadFileError("weights", must_be="a file", got="nothing there", path=path)
    found = remembered_sha256(path)
    if expected_sha256 is not None and not found.startswith(expected_sha256):
        raise BadFileError(
            "SHA-256",
            must_be=expected_sha256,
            got=found,
            do="the file is damaged or was replaced: delete it and load again",
            path=path,
        )
    return WeightFile(path=path, sha256=found)


def unfit(path: Path, must_be: str, error: Exception) -> BadFileError:
    """What to raise when a library fails to load a file of weights, whatever it raised itself."""
    return BadFileError("checkpoint", must_be=must_be, got=f"another file ({first_line(error)})", path=path)


def first_line(error: Exception) -> str:
    """An error's kind and the first line of what it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _download(repo: str, filenames: Sequence[str], wanted: str) -> WeightFile:
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    from vision.backbones.progress import HubProgress

    if hub.constants.HF_HUB_OFFLINE:
        raise unreachable(repo, wanted, "HF_HUB_OFFLINE, which forbids to ask")
    for filename in filenames:
        try:
            # Asked first, and once: the download call itself retries for minutes before it gives up.
            promised = hub.get_hf_file_metadata(hub.hf_hub_url(repo, filename), timeout=HUB_TIMEOUT).etag
            path = Path(hub.hf_hub_download(repo, filename, tqdm_class=HubProgress, etag_timeout=HUB_TIMEOUT))
        except EntryNotFoundError:
            continue
        except Exception as error:
            if not _is_about_the_hub(error):
                raise
            raise unreachable(repo, wanted, error) from error
        return check(path, promised if promised and _SHA256.fullmatch(promised) else None)
    raise ParameterError(
        f"repository {repo}", must_be=f"one that holds {' or '.join(filenames)}", got="none of these files"
    )


def _is_about_the_hub(error: Exception) -> bool:
    """Network, HTTP and file-system trouble, whatever HTTP library this version of the hub's client uses."""
    families = (OSError, ConnectionError, TimeoutError)
    return isinstance(error, families) or type(error).__module__.partition(".")[0] in (
        "httpx",
        "httpx2",
        "requests",
    )


def unreachable(repo: str, wanted: str, reason: Exception | str) -> HubUnreachableError:
    """The one error for weights that are not to be had, with all that can be done about it."""
    reason = reason if isinstance(reason, str) else first_line(reason)
    return HubUnreachableError(
        wanted,
        must_be=f"in the cache or on a hub that answers ({repo})",
        got=f"neither: {reason}",
        do=(
            "go online once, or set HF_HOME to a folder that holds it, or load a checkpoint you have with "
            "local:PATH, or take embedded:lite, which needs no hub"
        ),
    )
