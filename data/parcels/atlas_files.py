"""A NIfTI file as an atlas: labels (X, Y, Z) or probabilities (X, Y, Z, R) -> regions 1..R, and their names.

Letters: X, Y, Z voxels, R regions.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.scans.nifti import checked_affine, open_image

Labels = NDArray[np.int32]
Doubles = NDArray[np.float64]
Names = dict[int, str]

MOST_REGIONS = 10_000  # more than any atlas has; an anatomical image has more different values
NUMBER_COLUMNS = ("index", "label", "value", "id", "number", "roi", "region_id")
NAME_COLUMNS = ("name", "region", "region_name", "label_name", "roi_name", "abbreviation", "label")


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelImage:
    """Regions of a file: `labels_XYZ` int32 0 or 1..R, `affine` (4, 4) to mm, R `regions` and `values`."""

    labels_XYZ: Labels
    affine: Doubles
    regions: tuple[str, ...]
    values: tuple[int, ...]


def read_label_image(path: Path, *, table: Path | Names | None, least: float) -> LabelImage:
    """Labels, or the most probable region of each voxel, with names.

    Args:
        path: the NIfTI file.
        table: the names, or a file of them; None takes the table beside the image, where there is one.
        least: probability (0 to 1) below which a voxel belongs to no region.

    Raises:
        BadFileError: no atlas, or no table.
    """
    image = open_image(path)
    affine = checked_affine(path, image.affine)
    shape = tuple(map(int, image.shape))
    table = _beside(path) if table is None else table
    names = table if isinstance(table, dict) else read_names(table) if table is not None else {}
    if len(shape) == 4 and shape[3] > 1:
        labels_XYZ = _most_probable(path, shape, least)
        own = _of_volumes(names, shape[3])
    elif len(shape) >= 3 and all(n == 1 for n in shape[3:]):
        labels_XYZ = _whole_numbers(path, image, shape[:3])
        own = names
    else:
        raise _refused(
            path, f"of shape {shape}", "give one volume of labels, or one of probabilities a region"
        )
    return _numbered(path, labels_XYZ, affine, own)


def _numbered(path: Path, values_XYZ: NDArray[np.int64], affine: Doubles, names: Names) -> LabelImage:
    """The file's own numbers, which may have gaps, as 1..R in their order."""
    values_R = np.unique(values_XYZ)
    values_R = values_R[values_R > 0]
    if not 0 < values_R.size <= MOST_REGIONS:
        got = f"{values_R.size:,} of them"
        raise _refused(path, f"with {got}", f"give an atlas of 1 to {MOST_REGIONS:,} regions", "regions")
    labels_XYZ = np.searchsorted(values_R, values_XYZ).astype(np.int32) + 1
    labels_XYZ[values_XYZ == 0] = 0
    values = tuple(int(value) for value in values_R)
    regions = tuple(names.get(value, str(value)) for value in values)
    labels_XYZ.setflags(write=False)
    return LabelImage(labels_XYZ=labels_XYZ, affine=affine, regions=regions, values=values)


def _whole_numbers(path: Path, image: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    with _damage_told(path):
        values = np.asarray(image.dataobj).reshape(shape)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.rint(values)).all()):
        raise _refused(
            path, "fractions or values that are not finite", "round it, or give one volume a region", "labels"
        )
    if values.min() < 0 or values.max() > np.iinfo(np.int64).max // 2:
        raise _refused(path, f"from {values.min()} to {values.max()}", "number regions from 1", "labels")
    return values.astype(np.int64)


def _most_probable(path: Path, shape: tuple[int, ...], least: float) -> NDArray[np.int64]:
    """The volume (from 1) of the largest probability of each voxel, 0 where it is below `least`.

    Volumes are read one after the other: a wheel's atlas of 4 MB is 0.5 GB unpacked.
    """
    best_XYZ = np.zeros(shape[:3], dtype=np.float32, order="F")  # as volumes lie in the file: twice as quick
    volume_XYZ = np.zeros(shape[:3], dtype=np.int64, order="F")
    with _damage_told(path), _in_order(path) as image:
        for i in range(shape[3]):
            value_XYZ = np.asarray(image.dataobj[..., i])
            if not (value_XYZ.min() >= 0 and value_XYZ.max() <= 100):  # NaN ends here, too
                got = f"values from {value_XYZ.min():g} to {value_XYZ.max():g} in volume {i + 1}"
                raise _refused(path, got, "give labels (3-D) or probabilities (4-D)", "probabilities")
            more_XYZ = value_XYZ > best_XYZ
            np.copyto(best_XYZ, value_XYZ, where=more_XYZ)
            np.copyto(volume_XYZ, i + 1, where=more_XYZ)
    in_percent = best_XYZ.max() > 1
    volume_XYZ[best_XYZ < np.float32(least) * (100 if in_percent else 1)] = 0
    return volume_XYZ


@contextmanager
def _in_order(path: Path) -> Iterator[Any]:
    """An image whose volumes are read in order out of one open stream (gzip cannot be read backwards)."""
    import nibabel as nib

    if path.suffix != ".gz":
        yield nib.load(path)
        return
    from isal import igzip

    with igzip.open(path) as stream:  # type: ignore[no-untyped-call]
        yield nib.Nifti1Image.from_stream(stream)


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    try:
        yield
    except BadFileError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadFileError(
            "atlas", must_be="whole", got=f"damaged data ({error})", do="copy it again", path=path
        ) from error


def _refused(path: Path, got: str, do: str, what: str = "atlas") -> BadFileError:
    expected = {
        "atlas": "labels (X, Y, Z) or probabilities (X, Y, Z, R)",
        "labels": "whole numbers from 0",
        "probabilities": "from 0 to 1, or 0 to 100 percent",
        "regions": "a number that an atlas can have",
    }
    return BadFileError(what, must_be=expected[what], got=got, do=do, path=path)


def _beside(path: Path) -> Path | None:
    """The table of the same name beside an image."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    return next(
        (found for end in ("csv", "tsv", "txt") if (found := path.with_name(f"{stem}.{end}")).is_file()), None
    )


def _of_volumes(names: Names, count: int) -> Names:
    """Names by volume from 1, of a table that counts volumes from 0 or from 1."""
    from_zero = 0 in names and max(names) < count
    return {number + 1: name for number, name in names.items()} if from_zero else names


def read_names(path: Path) -> Names:
    """A table of regions: number in the image -> name.

    Raises:
        BadFileError: unreadable, no such columns, or a number twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(
            "table of regions", must_be="a text in UTF-8", got=str(error), do="save it so", path=path
        ) from error
    rows = _lines(text) if path.suffix == ".txt" else _columns(path, text)
    names: Names = {}
    for number, name in rows:
        if number in names:
            raise _bad_table(path, f"{number} twice", "one row a region")
        names[number] = name
    if not names:
        raise _bad_table(path, "no such row", "rows of a whole number and a name")
    return names


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """`12 Left-Putamen 236 13 176 0`: FreeSurfer's and FSL's tables; colours at the end are left out."""
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or not words[0].isdigit():
            continue
        while len(words) > 2 and words[-1].replace(".", "", 1).isdigit():
            words.pop()
        yield int(words[0]), " ".join(words[1:])


def _columns(path: Path, text: str) -> Iterator[tuple[int, str]]:
    import csv

    reader = csv.reader(text.splitlines(), delimiter="\t" if path.suffix == ".tsv" else ",")
    head, *rows = [[cell.strip() for cell in row] for row in reader if any(row)] or [[]]
    lower = [cell.casefold() for cell in head]
    number = next((lower.index(name) for name in NUMBER_COLUMNS if name in lower), None)
    named = next((lower.index(name) for name in NAME_COLUMNS if name in lower), None)
    if number is None or named is None or number == named:
        got = f"the columns {', '.join(head)}"
        raise _bad_table(path, got, "a table with the columns index and name")
    for row in rows:
        if len(row) <= max(number, named) or not row[number].isdigit():
            raise _bad_table(path, f"the row {','.join(row)!r}", "rows of a whole number and a name")
        yield int(row[number]), row[named]


def _bad_table(path: Path, got: str, must_be: str) -> BadFileError:
    return BadFileError("table of regions", must_be=must_be, got=got, do="mend it", path=path)
