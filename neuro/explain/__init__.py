"""Why the model said what it said of a scan, as a map in MNI space."""

from neuro.explain.explain_run import Explained, explain_run
from neuro.explain.group_map import group_map, out_of_fold, vote_map
from neuro.explain.image import as_image, write_image
from neuro.explain.methods import DEFAULT, METHODS, Method, Options, relevance
from neuro.explain.relevance import Relevance

__all__ = [
    "DEFAULT",
    "METHODS",
    "Explained",
    "Method",
    "Options",
    "Relevance",
    "as_image",
    "explain_run",
    "group_map",
    "out_of_fold",
    "relevance",
    "vote_map",
    "write_image",
]
