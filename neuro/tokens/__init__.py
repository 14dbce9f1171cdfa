"""Runs as token sequences: four ways of cutting behind one contract, and the way back."""

from neuro.tokens.amplitude import relative_amplitude
from neuro.tokens.batch import TokenBatch, collate
from neuro.tokens.cubes import CubeTokens, TubeletSpec, VolumeSpec, cubes
from neuro.tokens.kinds import KINDS, cut, cut_run, spec_as_dict, spec_from
from neuro.tokens.parcels import ParcelSpec, ParcelTokens, parcel_tokens, parcel_tokens_of_array
from neuro.tokens.regions import parcels_of_run, region_places
from neuro.tokens.run_tokens import Clip, RunTokens, TokenLayout, TokenSpec, untokenize
from neuro.tokens.slice_features import frozen_features
from neuro.tokens.slice_pictures import SliceSpec, slice_pictures
from neuro.tokens.slices import SliceTokens, slices, temporal_summary

__all__ = [
    "KINDS",
    "Clip",
    "CubeTokens",
    "ParcelSpec",
    "ParcelTokens",
    "RunTokens",
    "SliceSpec",
    "SliceTokens",
    "TokenBatch",
    "TokenLayout",
    "TokenSpec",
    "TubeletSpec",
    "VolumeSpec",
    "collate",
    "cubes",
    "cut",
    "cut_run",
    "frozen_features",
    "parcel_tokens",
    "parcel_tokens_of_array",
    "parcels_of_run",
    "region_places",
    "relative_amplitude",
    "slice_pictures",
    "slices",
    "spec_as_dict",
    "spec_from",
    "temporal_summary",
    "untokenize",
]
