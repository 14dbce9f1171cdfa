"""What an evaluation's models read the difference in, and how far that is to be believed.

Each run is explained by the model that had not seen the person; the map is the mean over patients less that
over controls, and with it stand its tables, and words on how it was made and how much it changes with method,
folds and weights. Where there can be no map, the words say why.

Letters: N runs, X Y Z voxel axes, R regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from data.errors import HubUnreachableError, MissingDependencyError, ParameterError
from data.parcels.atlases import Atlas
from data.quality.coverage import is_mni
from neuro.explain.group_map import Floats, require_one_space
from neuro.explain.image import as_image, known_atlas
from neuro.explain.map_checks import Explaining, MapChecks, check_map
from neuro.explain.map_words import check_words, method_words
from neuro.explain.methods import METHODS
from neuro.explain.regions import cluster_table, region_table, table_of_regions
from neuro.explain.relevance import Relevance
from neuro.tokens import ParcelTokens, RunTokens

DIGITS = 6  # of figures in tables: what is written is what is kept


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyMap:
    """The map of an evaluation.

    Attributes:
        image: NIfTI, float32, above 0 where patients' brains speak more for a patient than controls' do; None
            where there is no map, or it is of regions whose atlas is not known.
        regions: by region, the strongest first (see `neuro.explain.regions`); None where there is no map, or
            no atlas for its space.
        clusters: of the strongest voxels, the largest first; None of regions too.
        in_mni: whether the image lies in MNI space, where templates and atlases hold.
        method: a name of `neuro.explain.METHODS`; None where there is no map.
        checks: how it compares with others; None where there is no map.
        words: how it was made and how far it is to be believed, or why there is none; a sentence or two each.
    """

    image: Any | None = None
    regions: pd.DataFrame | None = None
    clusters: pd.DataFrame | None = None
    in_mni: bool = False
    method: str | None = None
    checks: MapChecks | None = None
    words: tuple[str, ...] = ()


def study_map(explaining: Explaining, *, space: str, names: Sequence[str] | None = None) -> StudyMap:
    """The map of an evaluation's first deal, by the first method that can explain its models.

    It never fails for what a cohort or model is like: there is less of it then, and it says why.

    Args:
        explaining: the models, the runs, and who was tested by which.
        space: of the runs, as in a cache's table ("MNI152NLin2009cAsym", "native", "parcels").
        names: of regions, where runs are cut into them; used where their atlas is not known.
    """
    try:
        require_one_space(explaining.runs)
        found, refused = _explained(explaining)
        map_XYZ = explaining.map_of(found)
        if not map_XYZ.any() or not np.isfinite(map_XYZ).all():
            got = "0 at every place" if np.isfinite(map_XYZ).all() else "values that are not"
            raise ParameterError("relevance", must_be="finite, and above 0 somewhere", got=got)
    except ParameterError as error:
        return StudyMap(words=(f"There is no map: {str(error).rstrip('.')}.",))
    checks = check_map(found, explaining)
    placed = _placed(map_XYZ, explaining.runs[0], space, names)
    words = (*method_words(found[0].method, refused), *placed.words, *check_words(checks))
    return replace(placed, method=found[0].method, checks=checks, words=words)


def _explained(explaining: Explaining) -> tuple[list[Relevance], dict[str, str]]:
    """By the first method that can; and why each before it could not."""
    refused: dict[str, str] = {}
    for method in METHODS:
        try:
            return explaining.by(method), refused
        except ParameterError as error:
            refused[method] = str(error).rstrip(".")
    raise ParameterError("model", must_be="one that a method can explain", got=next(iter(refused.values())))


def _placed(map_XYZ: Floats, run: RunTokens, space: str, names: Sequence[str] | None) -> StudyMap:
    """The map with its image and tables, and words on what of these there is not."""
    if isinstance(run, ParcelTokens):
        return _of_regions(map_XYZ, run, names)
    image = as_image(map_XYZ, run)
    if not is_mni(space):
        words = (f"The runs' space ({space}) is not MNI's: no atlas names the places of this map.",)
        return StudyMap(image=image, words=words)
    try:
        regions, clusters = region_table(image), cluster_table(image)
    except (MissingDependencyError, HubUnreachableError) as error:
        return StudyMap(image=image, in_mni=True, words=(f"There are no tables: {error}",))
    return StudyMap(image=image, regions=_rounded(regions), clusters=_rounded(clusters), in_mni=True)


def _of_regions(values_R: Floats, run: ParcelTokens, names: Sequence[str] | None) -> StudyMap:
    atlas: Atlas | None = known_atlas(run)
    table = _rounded(table_of_regions(values_R, run, atlas, names))
    if atlas is not None:
        return StudyMap(image=as_image(values_R, run, atlas), regions=table, in_mni=atlas.in_mni)
    words = f"Where the regions of {run.spec.atlas} lie is not known here: they have a table, and no image."
    return StudyMap(regions=table, words=(words,))


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Figures with as many digits as are written, so that a table read back is the same."""
    numbers = table.select_dtypes("number").columns
    digits = {name: [float(f"{value:.{DIGITS}g}") for value in table[name]] for name in numbers}
    return table.assign(**{name: np.array(values, dtype=np.float64) for name, values in digits.items()})
