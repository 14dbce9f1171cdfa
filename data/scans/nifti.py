"""NIfTI headers and volumes, checked: a file that cannot be used ends in one clear error.

Grids: shape (X, Y, Z, …) with an affine (4, 4) from voxel indices to mm.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.scans.nifti_guard import require_sane_start

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]

LARGEST_VOLUME = 512**3  # voxels; more than any scanner gives, and a gigabyte in single precision
OBLIQUE_DEGREES = 0.5
BRAIN_MM = 80.0  # less than half the height of a brain with its cerebellum
ANNEX_POINTER = b"/annex/objects/"
GRID_TOLERANCE_MM = 0.05  # how far any corner of one grid may lie from another's


def must_exist(path: Path, what: str) -> None:
    """Raise BadFileError where `path` is no file, or a link or pointer to content that was never fetched."""
    absent = not path.is_file()
    if absent or _is_annex_pointer(path):
        link = path.is_symlink() or not absent
        raise BadFileError(
            what,
            must_be="a file",
            got="a link to content that is not here" if link else "nothing there",
            do="fetch it (`datalad get`)" if link else "check the path",
            path=path,
        )


def _is_annex_pointer(path: Path) -> bool:
    """Whether git-annex left a line of text in the place of an unlocked file's content."""
    with path.open("rb") as stream:
        return stream.read(len(ANNEX_POINTER)) == ANNEX_POINTER


def open_image(path: Path) -> Any:
    """A nibabel NIfTI-1 or NIfTI-2 image of real numbers, its voxels unread.

    Raises:
        BadFileError: the file is absent, unreadable, of another format, complex or coloured, or promises
            impossibly many voxels.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    must_exist(path, "image")
    require_sane_start(path)
    try:
        image = nib.load(path)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError) as error:
        raise BadFileError(
            "image",
            must_be="NIfTI",
            got=f"an unreadable file ({error})",
            do="copy or convert it again",
            path=path,
        ) from error
    if not isinstance(image, nib.Nifti1Pair):
        kind = type(image).__name__
        raise BadFileError("image", must_be="NIfTI", got=kind, do="convert it to .nii.gz", path=path)
    if image.dataobj.dtype.kind not in "iuf":
        kind = str(image.dataobj.dtype)
        raise BadFileError("voxels", must_be="real numbers", got=kind, do="give magnitude data", path=path)
    if math.prod(map(int, image.shape[:3])) > LARGEST_VOLUME:
        raise BadFileError(
            "volume",
            must_be=f"of at most {LARGEST_VOLUME:,} voxels",
            got=f"shape {tuple(map(int, image.shape[:3]))}",
            do="the header is wrong, or the file is meant to fill the memory",
            path=path,
        )
    return image


def read_volume(path: Path) -> Floats:
    """All voxels of a small image, float32; BadFileError where the data are damaged."""
    image = open_image(path)
    try:
        return np.asarray(image.dataobj, dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise BadFileError(
            "image", must_be="whole", got=f"damaged data ({error})", do="copy it again", path=path
        ) from error


def checked_affine(path: Path, affine: Any) -> Affine:
    """The affine as a read-only float64 (4, 4); BadFileError where it is not finite or cannot be inverted."""
    matrix = np.array(affine, dtype=np.float64)
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise BadFileError(
            "affine",
            must_be="finite and invertible",
            got=np.array2string(matrix, precision=3, separator=",").replace("\n", ""),
            do="correct the qform or sform of the header",
            path=path,
        )
    matrix.setflags(write=False)
    return matrix


def same_grid(
    shape: tuple[int, ...], affine: Affine, other_shape: tuple[int, ...], other_affine: Affine
) -> bool:
    """Whether two grids have one shape and no corner more than 0.05 mm apart."""
    if tuple(shape[:3]) != tuple(other_shape[:3]):
        return False
    ends = [(0, n - 1) for n in shape[:3]]
    corners_C4 = np.array([[i, j, k, 1] for i in ends[0] for j in ends[1] for k in ends[2]], dtype=float)
    apart_C = np.linalg.norm((corners_C4 @ (affine - other_affine).T)[:, :3], axis=1)
    return bool(apart_C.max() <= GRID_TOLERANCE_MM)


def transform_notes(header: Any) -> tuple[str, ...]:
    """What a careful reader should know of the header's qform and sform, one sentence each."""
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if qform == 0 and sform == 0:
        return ("the header has neither qform nor sform: position and orientation are guesses",)
    if qform > 0 and sform > 0:
        extent = np.array(header.get_data_shape()[:3], dtype=float)
        apart = (header.get_qform() - header.get_sform()) @ np.r_[extent, 1]
        if np.linalg.norm(apart[:3]) > 1:
            return ("qform and sform disagree by more than 1 mm; the sform was taken",)
    return ()


def geometry_notes(shape: tuple[int, ...], affine: Affine) -> tuple[str, ...]:
    """What a careful reader should know of how voxels lie in the head, one sentence each.

    All of it is handled, since places are told in mm by the affine; it matters to who looks at raw slices.
    """
    from nibabel.affines import obliquity

    notes = []
    tilt = float(np.degrees(obliquity(affine).max()))
    if tilt > OBLIQUE_DEGREES:
        notes.append(f"the grid is oblique, by {tilt:.1f} degrees")
    if np.linalg.det(affine[:3, :3]) < 0:
        notes.append("the voxel axes are left-handed (as FSL's); the affine says which side is right")
    extent_mm = np.linalg.norm(affine[:3, :3], axis=0) * shape[:3]
    if extent_mm.min() < BRAIN_MM:
        notes.append(f"the field of view is {extent_mm.min():.0f} mm thin: most of the brain is not in it")
    return tuple(notes)
