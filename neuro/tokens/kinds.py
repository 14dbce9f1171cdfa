"""The four kinds of tokens by name: specs as plain data and back, and one way of cutting for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from data.caches.cache import Cache
from data.caches.cached_run import CachedRun
from data.errors import ParameterError, UnknownNameError, nearest
from data.parcels.series import atlases_in, open_parcels
from neuro.tokens.cubes import TubeletSpec, VolumeSpec, cubes
from neuro.tokens.parcels import ParcelSpec, ParcelTokens, parcel_tokens
from neuro.tokens.regions import parcels_of_run, region_places
from neuro.tokens.run_tokens import RunTokens, TokenSpec
from neuro.tokens.slice_features import home
from neuro.tokens.slice_pictures import SliceSpec
from neuro.tokens.slices import slices
from vision.backbones import Backbone

KINDS: dict[str, type[TokenSpec]] = {
    spec.kind: spec for spec in (TubeletSpec, VolumeSpec, SliceSpec, ParcelSpec)
}


def cut(cache: Cache, i: int, spec: TokenSpec, backbone: Backbone | None = None) -> RunTokens:
    """Run `i` of a cache as tokens.

    Args:
        cache: from `prepare`; parcels need no voxels in it.
        i: row of its table.
        spec: how to cut.
        backbone: of slices, where it is loaded already.

    Raises:
        ParameterError: the run is too short, or has no parcels of the atlas.
        BadFileError: the run's files are damaged, or it has no voxels.
    """
    if isinstance(spec, ParcelSpec):
        row = cache.table.iloc[i]
        parcels = cache.parcels(i, spec.atlas)
        return parcel_tokens(
            parcels,
            spec,
            run_id=str(row["run_id"]),
            tr=float(row["tr"]),
            centres_R3=region_places(parcels) if spec.centres else None,
        )
    return cut_run(cache.run(i), spec, backbone)


def cut_run(run: CachedRun, spec: TokenSpec, backbone: Backbone | None = None) -> RunTokens:
    """One run with voxels as tokens, in a cache or not; its parcels are made here where they are not kept.

    Raises:
        ParameterError: the run is too short, or a kind that is not known.
        UnknownNameError: an atlas that has no name, and that the run has no parcels of.
    """
    if isinstance(spec, ParcelSpec):
        return _regions(run, spec)
    if isinstance(spec, SliceSpec):
        return slices(run, spec, backbone)
    if isinstance(spec, VolumeSpec):
        return cubes(run, spec)
    raise ParameterError("spec", must_be=f"of a kind among {', '.join(KINDS)}", got=type(spec).__name__)


def _regions(run: CachedRun, spec: ParcelSpec) -> ParcelTokens:
    folder = home(run)
    kept = folder is not None and spec.atlas in atlases_in(folder)
    parcels = open_parcels(folder, spec.atlas) if folder and kept else parcels_of_run(run, spec.atlas)
    centres_R3 = region_places(parcels) if spec.centres else None
    return parcel_tokens(parcels, spec, run_id=run.run_id, tr=run.tr, centres_R3=centres_R3)


def spec_as_dict(spec: TokenSpec) -> dict[str, Any]:
    """A spec as plain data with its `kind`, for TOML and JSON; what is None is left out."""
    chosen = {name: value for name, value in asdict(spec).items() if value is not None}
    return {"kind": spec.kind, **chosen}


def spec_from(mapping: Mapping[str, Any]) -> TokenSpec:
    """A spec from plain data: `kind` and any of its fields, the others by default.

    Raises:
        UnknownNameError: no such kind, or a field that the kind does not have.
        ParameterError: a value of another type, or one that cannot work.
    """
    given = dict(mapping)
    kind = str(given.pop("kind", "none"))
    if kind not in KINDS:
        raise UnknownNameError(
            "kind of tokens", must_be=f"one of {', '.join(KINDS)}", got=kind, do=nearest(kind, KINDS)
        )
    known = [field.name for field in fields(KINDS[kind])]
    hints = get_type_hints(KINDS[kind])
    for name, value in given.items():
        if name not in known:
            raise UnknownNameError(
                f"field of {kind} tokens",
                must_be=f"one of {', '.join(known)}",
                got=name,
                do=nearest(name, known),
            )
        given[name] = _checked(name, value, hints[name])
    return KINDS[kind](**given)


def _checked(name: str, value: Any, hint: Any) -> Any:
    """A value of the field's type; whole numbers are numbers, and True is none."""
    if get_origin(hint) is Literal:
        # The spec itself names the choices; on a command line the word none is nothing.
        return "none" if value is None and "none" in get_args(hint) else value
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if float in kinds and type(value) is int:
        return float(value)
    if type(value) not in kinds:
        words = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in kinds)
        raise ParameterError(name, must_be=f"of type {words}", got=repr(value))
    return value
