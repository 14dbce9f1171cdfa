"""NIfTI headers and volumes, checked: a file that cannot be used ends in one clear error.

Grids: shape (X, Y, Z, …) with an affine (4, 4) from voxel indices to mm.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError

Floats = NDArray[np.float32]
Affine = NDArray[np.float64]

GRID_TOLERANCE_MM = 0.05  # how far any corner of one grid may lie from another's


def must_exist(path: Path, what: str) -> None:
    """Raise BadFileError where `path` is no file, or a link to content that was never fetched."""
    if not path.is_file():
        link = path.is_symlink()
        raise BadFileError(
            what,
            must_be="a file",
            got="a link to content that is not here" if link else "nothing there",
            do="fetch it (`datalad get`)" if link else "check the path",
            path=path,
        )


def open_image(path: Path) -> Any:
    """A nibabel NIfTI-1 or NIfTI-2 image of real numbers, its voxels unread.

    Raises:
        BadFileError: the file is absent, unreadable, of another format, or complex or coloured.
    """
    import nibabel as nib
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    must_exist(path, "image")
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
