"""One .npz of published parcel series: what it says of its people, and their series by atlas.

Arrays: `ts_<atlas>` (N, T, R) for each atlas; `y` (N,), 1 patient and 0 control; `subject` (N,) names; and,
where they are known, `age`, `sex`, `person` (N,), `regions_<atlas>` (R,) names, `tr` seconds. Whatever else
lies there is left alone, matrices of connectivity (`fc_<atlas>`) too: they are computed from the series.
Letters: N runs, T frames, R regions.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.scans.repetition_time import LONGEST_TR, SHORTEST_TR

Floats = NDArray[np.float32]

SERIES, REGIONS = "ts_", "regions_"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # of people and atlases: they name folders and files


@dataclass(frozen=True, kw_only=True, eq=False)
class ParcelFile:
    """What a file holds, but for the series, which `series` reads.

    Attributes:
        path: the file; its name without the ending is the site.
        subjects: N names, each once.
        labels: (N,) int, 1 patient, 0 control.
        facts: what is known of each: `age`, `sex`, `person` (N,), where the file has them.
        regions: R names for each atlas; numbers from 1 where the file has no names.
        n_frames: T for each atlas.
        tr: seconds, of the file or of a sidecar of its name (`RepetitionTime`), or None.
    """

    path: Path
    subjects: tuple[str, ...]
    labels: NDArray[np.int64]
    facts: dict[str, NDArray[Any]]
    regions: dict[str, tuple[str, ...]]
    n_frames: dict[str, int]
    tr: float | None

    @property
    def site(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    def series(self, atlas: str) -> Floats:
        """All runs' series (N, T, R), float32."""
        with _arrays(self.path) as arrays:
            return np.asarray(arrays[SERIES + atlas], dtype=np.float32)


def read_parcel_file(path: str | Path) -> ParcelFile:
    """What a file says, checked.

    Raises:
        BadFileError: no .npz, no series, or arrays that do not fit together.
    """
    path = Path(path)
    with _arrays(path) as arrays:
        names = [key.removeprefix(SERIES) for key in arrays if key.startswith(SERIES)]
        if not names:
            raise _bad(
                path, "series", "arrays ts_<atlas> (subjects, frames, regions)", ", ".join(arrays) or "none"
            )
        for needed in ("subject", "y"):
            if needed not in arrays:
                raise _bad(path, "arrays", "subject, y and ts_<atlas>", f"no {needed}")
        subjects = tuple(str(name).strip() for name in np.ravel(arrays["subject"]))
        _check_names(path, subjects, names)
        shapes = {name: _series_shape(path, arrays, name, len(subjects)) for name in names}
        facts = {
            key: _column(path, arrays, key, len(subjects))
            for key in ("age", "sex", "person")
            if key in arrays
        }
        return ParcelFile(
            path=path,
            subjects=subjects,
            labels=_labels(path, _column(path, arrays, "y", len(subjects))),
            facts=facts,
            regions={name: _regions(path, arrays, name, shapes[name][2]) for name in names},
            n_frames={name: shapes[name][1] for name in names},
            tr=_own_tr(path, arrays),
        )


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """The file's arrays by name, none of them read; damage found while reading is told, too."""
    try:
        with path.open("rb") as stream:  # np.load leaves a damaged archive open
            arrays = np.load(stream, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise _bad(path, "parcel series", "an .npz of arrays", "a single array")
            yield arrays
    except BadFileError:
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _bad(
            path, "parcel series", "an .npz of plain arrays", f"an unreadable file ({error})"
        ) from error


def _check_names(path: Path, subjects: tuple[str, ...], atlases: list[str]) -> None:
    for what, names in (("subject", subjects), ("atlas", atlases)):
        odd = next((name for name in names if not NAME.fullmatch(name)), None)
        if odd is not None:
            raise _bad(path, what, "of letters, digits, '-', '_' and '.'", repr(odd))
    twice = sorted({name for name in subjects if subjects.count(name) > 1})
    if twice:
        raise _bad(path, "subject", "one row each", f"several for {', '.join(twice[:10])}")


def _series_shape(path: Path, arrays: Any, name: str, count: int) -> tuple[int, ...]:
    series = arrays[SERIES + name]
    if series.ndim != 3 or len(series) != count or series.shape[1] < 2 or series.dtype.kind not in "iuf":
        got = f"{series.dtype} of shape {series.shape}"
        raise _bad(path, SERIES + name, f"numbers (subjects, frames, regions), {count} subjects", got)
    return tuple(series.shape)


def _column(path: Path, arrays: Any, key: str, count: int) -> NDArray[Any]:
    column = np.ravel(arrays[key])
    if len(column) != count:
        raise _bad(path, key, f"one value for each of {count} subjects", f"{len(column)}")
    return column


def _labels(path: Path, column: NDArray[Any]) -> NDArray[np.int64]:
    if column.dtype.kind not in "biuf" or not np.isin(column, (0, 1)).all():
        raise _bad(path, "y", "1 (patient) or 0 (control)", ", ".join(map(str, np.unique(column)[:6])))
    return column.astype(np.int64)


def _regions(path: Path, arrays: Any, name: str, count: int) -> tuple[str, ...]:
    if REGIONS + name not in arrays:
        return tuple(map(str, range(1, count + 1)))
    return tuple(str(region) for region in _column(path, arrays, REGIONS + name, count))


def _own_tr(path: Path, arrays: Any) -> float | None:
    """Seconds, from the file or its sidecar; nothing is guessed."""
    sidecar = path.with_suffix(".json")
    if "tr" in arrays:
        values = np.unique(np.ravel(arrays["tr"]))
        given: Any = values[0] if len(values) == 1 else values.tolist()
    elif sidecar.is_file():
        try:
            given = json.loads(sidecar.read_text(encoding="utf-8"))["RepetitionTime"]
        except KeyError:
            return None
        except (ValueError, TypeError) as error:
            raise _bad(sidecar, "sidecar", "a JSON object", str(error)) from error
    else:
        return None
    return checked_tr(path, given)


def checked_tr(path: Path, value: Any) -> float:
    """A repetition time in seconds, or BadFileError where it can be none (milliseconds, zero, words)."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not SHORTEST_TR <= seconds <= LONGEST_TR:
        raise _bad(path, "repetition time", f"from {SHORTEST_TR:g} to {LONGEST_TR:g} seconds", value)
    return seconds


def _bad(path: Path, what: str, must_be: str, got: object) -> BadFileError:
    return BadFileError(what, must_be=must_be, got=got, do="mend the file", path=path)
