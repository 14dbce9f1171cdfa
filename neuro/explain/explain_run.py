"""Why a model said what it said of one run, as files beside its prediction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from data.errors import ParameterError
from data.parcels.atlases import Atlas
from data.writing import write_whole
from neuro.classifier import ParkinsonClassifier
from neuro.explain.image import known_atlas, write_image
from neuro.explain.methods import DEFAULT, Options, relevance
from neuro.explain.regions import table_of
from neuro.explain.relevance import Relevance
from neuro.tokens import ParcelTokens, RunTokens

IMAGE, TABLE = "relevance.nii.gz", "regions.tsv"


@dataclass(frozen=True, kw_only=True, eq=False)
class Explained:
    """What was written.

    Attributes:
        relevance: of the run.
        image: relevance.nii.gz; None for regions of an atlas that is not known.
        table: regions.tsv; None for voxels outside of MNI space, where no atlas applies.
    """

    relevance: Relevance
    image: Path | None
    table: Path | None


def explain_run(
    classifier: ParkinsonClassifier,
    run: RunTokens,
    method: str = DEFAULT,
    out: str | Path = ".",
    *,
    atlas: Atlas | None = None,
    in_mni: bool = True,
    options: Options | None = None,
) -> Explained:
    """Explain a run, and write relevance.nii.gz and regions.tsv into a folder.

    Args:
        classifier: fitted.
        run: cut as the runs that it was fitted to.
        method: a name of `neuro.explain.METHODS`.
        out: the folder; it is made, and files of these names in it are replaced.
        atlas: of the table, AAL by default; of tokens that are regions, the one whose they are, where it has
            no name.
        in_mni: whether the run is in MNI space.
        options: of the method.

    Raises:
        UnknownNameError: no such method.
        ParameterError: the model cannot be explained by this method, or nothing is relevant to it.
    """
    found = relevance(classifier, run, method, options)
    if not found.values_S.any():
        raise ParameterError("relevance", must_be="above 0 somewhere", got="0 at every place")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    image, table = folder / IMAGE, folder / TABLE
    for earlier in (image, table):  # it would not be of this run
        earlier.unlink(missing_ok=True)
    of_regions = isinstance(run, ParcelTokens)
    regions = atlas or known_atlas(run)
    if drawn := not of_regions or regions is not None:
        write_image(found.image(regions), image)
    if told := of_regions or in_mni:
        rows = table_of(found, regions or "aal")
        write_whole(table, rows.to_csv(sep="\t", index=False, float_format="%.6g"))
    return Explained(relevance=found, image=image if drawn else None, table=table if told else None)
