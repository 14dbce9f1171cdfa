"""Why the model said what it said of a scan, as a map in MNI space."""

from neuro.explain.explain_run import Explained, explain_run
from neuro.explain.group_map import group_map, out_of_fold
from neuro.explain.image import as_image, write_image
from neuro.explain.map_checks import Explaining
from neuro.explain.methods import DEFAULT, METHODS, Method, Options, relevance
from neuro.explain.relevance import Relevance
from neuro.explain.study_map import StudyMap, study_map
from neuro.explain.study_map_files import read_study_map, write_study_map

__all__ = [
    "DEFAULT",
    "METHODS",
    "Explained",
    "Explaining",
    "Method",
    "Options",
    "Relevance",
    "StudyMap",
    "as_image",
    "explain_run",
    "group_map",
    "out_of_fold",
    "read_study_map",
    "relevance",
    "study_map",
    "write_image",
    "write_study_map",
]
