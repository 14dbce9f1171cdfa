"""One run of fMRI, lazy: a NIfTI file -> shape (X, Y, Z, T), affine in mm, TR in seconds, then voxels.

Letters: X, Y, Z voxels, T frames, V in-mask voxels in C order of the mask (as `volume[mask]` gives them).
The header is read at once; voxels are streamed frame by frame when asked for, never the whole file twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import BadFileError
from data.scans.bids import RunFiles, parse_entities
from data.scans.nifti import (
    Affine,
    Floats,
    checked_affine,
    must_exist,
    open_image,
    read_volume,
    same_grid,
    transform_notes,
)
from data.scans.repetition_time import load_tr
from data.scans.voxel_stream import VoxelStream, may_hold

BLOCK_BYTES = 2 << 20  # raw bytes held at once while streaming


@dataclass(frozen=True, kw_only=True, eq=False)
class BoldRun:
    """A 4-D run on disk; make one with `BoldRun.open`.

    Attributes:
        path: the NIfTI file.
        shape: (X, Y, Z, T).
        affine: (4, 4), voxel indices -> mm.
        tr: repetition time in seconds.
        mask: the brain mask's file, or None.
        confounds: the confounds table's file, or None.
        notes: what a careful reader should know about the header, one sentence each.
    """

    path: Path
    shape: tuple[int, int, int, int]
    affine: Affine
    tr: float
    mask: Path | None = None
    confounds: Path | None = None
    notes: tuple[str, ...] = ()
    _image: Any = field(repr=False)

    @classmethod
    def open(
        cls,
        path: str | Path,
        mask: str | Path | None = None,
        confounds: str | Path | None = None,
        *,
        tr: float | None = None,
    ) -> BoldRun:
        """Read and check the header, the sidecar JSON's RepetitionTime and the mask's grid; read no voxel.

        The sidecar is the file of the same name with `.json`, or one that it inherits
        (`data.scans.repetition_time`). Where it and the header disagree on TR, the sidecar wins and `notes`
        says so; `tr`, in seconds, wins over both. Header units sec, msec and usec are honoured.

        Raises:
            BadFileError: the file is absent, not NIfTI, not 4-D, of one frame or of impossibly many voxels,
                shorter or much longer than its header promises, has a broken affine or an impossible TR; the
                mask or the confounds are absent; the mask lies on another grid (a corner more than 0.05 mm
                away).
        """
        path = Path(path)
        image = open_image(path)
        shape = tuple(map(int, image.shape))
        if len(shape) != 4 or min(shape) < 1:
            raise BadFileError(
                "run of fMRI",
                must_be="4-D (X, Y, Z, T)",
                got=f"{len(shape)}-D of shape {shape}",
                do="give the preprocessed time series, not a single volume or a map",
                path=path,
            )
        if shape[3] == 1:
            raise BadFileError(
                "run of fMRI",
                must_be="of many frames",
                got="a single one",
                do="give the time series, not its mean or reference",
                path=path,
            )
        seconds, tr_notes = load_tr(path, image.header, tr)
        run = cls(
            path=path,
            shape=shape,
            affine=checked_affine(path, image.affine),
            tr=seconds,
            mask=Path(mask) if mask is not None else None,
            confounds=Path(confounds) if confounds is not None else None,
            notes=tr_notes + transform_notes(image.header),
            _image=image,
        )
        _check_length(run)
        if run.mask is not None:
            _check_mask(run, run.mask)
        if run.confounds is not None:
            must_exist(run.confounds, "confounds table")
        return run

    @classmethod
    def of(cls, files: RunFiles) -> BoldRun:
        """Open what `data.scans.bids.find_runs` or a table found, as `open` does.

        Raises:
            BadFileError: there is no run, or it cannot be used.
        """
        if files.bold is None:
            raise BadFileError("run of fMRI", must_be="there", got=f"none for {files.run_id}")
        return cls.open(files.bold, mask=files.mask, confounds=files.confounds, tr=files.tr)

    @property
    def n_frames(self) -> int:
        """T."""
        return self.shape[3]

    @property
    def header(self) -> Any:
        """nibabel's NIfTI header."""
        return self._image.header

    @property
    def space(self) -> str | None:
        """The space that the file's name states, or None."""
        return parse_entities(self.path.name)[0].get("space")

    def load(self) -> Floats:
        """All voxels, float32 (X, Y, Z, T), in the header's scaling.

        Raises:
            BadFileError: the file ends early or its compression is damaged.
        """
        volume_XYZT = np.empty(self.shape, dtype=np.float32, order="F")
        for start, block_XYZT in self.frames():
            volume_XYZT[..., start : start + block_XYZT.shape[3]] = block_XYZT
        return volume_XYZT

    def mask_volume(self) -> NDArray[np.bool_]:
        """The brain mask, bool (X, Y, Z): true where the mask's value is not zero.

        Raises:
            BadFileError: no mask was given, or it is empty.
        """
        if self.mask is None:
            raise BadFileError(
                "brain mask",
                must_be="a file on the run's grid",
                got="none",
                do="give its path",
                path=self.path,
            )
        mask_XYZ: NDArray[np.bool_] = np.nan_to_num(read_volume(self.mask)).reshape(self.shape[:3]) != 0
        if not mask_XYZ.any():
            raise BadFileError(
                "brain mask",
                must_be="non-zero somewhere",
                got="zero everywhere",
                do="remake it",
                path=self.mask,
            )
        return mask_XYZ

    def in_mask(self) -> Floats:
        """The voxels of the mask, float32 (T, V), streamed: memory is the result and one block of frames.

        Raises:
            BadFileError: no mask or an empty one; the file ends early or is damaged.
        """
        return select(self.frames(), self.mask_volume(), self.n_frames)

    def frames(self) -> Iterator[tuple[int, Floats]]:
        """Successive blocks of whole frames: (index of the first frame, float32 (X, Y, Z, n)).

        Raises:
            BadFileError: the file ends early or is damaged.
        """
        proxy = self._image.dataobj
        frame_bytes = math.prod(self.shape[:3]) * proxy.dtype.itemsize
        per_block = max(1, BLOCK_BYTES // frame_bytes)
        with VoxelStream(_voxels_path(self), self.shape) as stream:
            stream.read(proxy.offset, 0)
            for start in range(0, self.n_frames, per_block):
                count = min(per_block, self.n_frames - start)
                last = start + count == self.n_frames
                raw = stream.read(count * frame_bytes, start, last)
                block = np.frombuffer(raw, dtype=proxy.dtype).astype(np.float32)
                if (proxy.slope, proxy.inter) != (1.0, 0.0):
                    block *= np.float32(proxy.slope)
                    block += np.float32(proxy.inter)
                yield start, block.reshape((*self.shape[:3], count), order="F")


def select(frames: Iterator[tuple[int, Floats]], mask_XYZ: NDArray[np.bool_], n_frames: int) -> Floats:
    """In-mask series float32 (T, V), voxels in C order of the mask, from blocks of frames (X, Y, Z, n)."""
    # Frames lie in Fortran order on disk, so the voxels are taken by their flat Fortran index.
    voxels_V = np.ravel_multi_index(np.nonzero(mask_XYZ), mask_XYZ.shape, order="F")
    series_TV = np.empty((n_frames, voxels_V.size), dtype=np.float32)
    for start, block_XYZn in frames:
        flat_nS = block_XYZn.reshape((-1, block_XYZn.shape[3]), order="F").T
        for offset, frame_S in enumerate(flat_nS):
            np.take(frame_S, voxels_V, out=series_TV[start + offset])
    return series_TV


def _check_mask(run: BoldRun, mask: Path) -> None:
    must_exist(mask, "brain mask")
    image = open_image(mask)
    shape = tuple(map(int, image.shape))
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise BadFileError(
            "brain mask", must_be="3-D", got=f"of shape {shape}", do="give one volume", path=mask
        )
    affine = checked_affine(mask, image.affine)
    if shape[:3] != run.shape[:3]:
        found, wanted = f"shape {shape[:3]}", f"shape {run.shape[:3]}"
    elif not same_grid(run.shape, run.affine, shape, affine):
        found, wanted = f"affine {affine[:3].round(3).tolist()}", f"affine {run.affine[:3].round(3).tolist()}"
    else:
        return
    raise BadFileError(
        "brain mask's grid",
        must_be=f"that of {run.path.name} ({wanted})",
        got=found,
        do="give the mask of the same space and resolution, or resample it with nearest neighbours",
        path=mask,
    )


def _check_length(run: BoldRun) -> None:
    """Catch a file that is cut short, without reading it where its size or the gzip trailer gives it away."""
    proxy = run._image.dataobj
    path = _voxels_path(run)
    promised = proxy.offset + math.prod(run.shape) * proxy.dtype.itemsize
    there = may_hold(path, promised)
    if there is None:
        for _ in run.frames():
            pass
    elif not there:
        raise BadFileError(
            "size of the data",
            must_be=f"{promised:,} bytes for shape {run.shape}",
            got=f"a file of {path.stat().st_size:,} bytes",
            do="the file is cut short or its header is wrong: copy or fetch it again",
            path=run.path,
        )


def _voxels_path(run: BoldRun) -> Path:
    """The file itself, or its .img where header and voxels are two."""
    return Path(run._image.file_map["image"].filename)
