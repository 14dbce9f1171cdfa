"""What is said to the server and by it, with the limits of a query and an example of each."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

K_MOST = 200
DEPTH = 2000  # ranks that paging leads to
TERMS_MOST = 16
IDS_MOST = 500
LABELS_MOST = 100
EXAMPLE_ID = "5f3c1e0a-8b1d-4c5e-9a77-0d1f2b3c4d5e"


def _is_text(text: str) -> str:
    """Half a surrogate pair and NUL are no text, and no library below expects them."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must be text without NUL")
    return text


Words = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_is_text),
]
Label = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_is_text),
]
Where = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_is_text)]
Handle = Annotated[str, StringConstraints(pattern=r"^[\w-]{1,64}$")]
Cursor = Annotated[str, StringConstraints(pattern=r"^[\w=-]{1,200}$")]
Cut = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
K = Annotated[int, Field(ge=1, le=K_MOST)]
Id = Annotated[UUID, Field(strict=False)]  # JSON writes it as text


class Said(BaseModel):
    """What a caller says: nothing that is not known is passed over, and no "5" taken for a 5."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Term(Said):
    """One thing to look for: words, a picture of the index, or one that was sent."""

    text: Words | None = Field(None, examples=["a dog on a beach"])
    id: Id | None = Field(None, description="A picture of the index.")
    upload: Handle | None = Field(None, description="A picture that was sent before.")
    weight: float = Field(1.0, ge=-100, le=100, allow_inf_nan=False, description="Below 0: taken away.")

    @model_validator(mode="after")
    def _has_one(self) -> Term:
        if sum(one is not None for one in (self.text, self.id, self.upload)) != 1:
            raise ValueError("a term must have one of text, id and upload")
        return self


Terms = Annotated[list[Term], Field(max_length=TERMS_MOST)]
Ids = Annotated[list[Id], Field(max_length=TERMS_MOST)]


class Query(Said):
    """What is looked for: a sum of terms, and what was thought of earlier results."""

    terms: Terms = []
    more_like: Ids = Field([], description="Earlier results to find more of.")
    less_like: Ids = Field([], description="Earlier results to find less of.")

    @property
    def is_empty(self) -> bool:
        """Whether nothing is looked for."""
        return not (self.terms or self.more_like or self.less_like)


class SearchRequest(Query):
    """A query; without a term it is for all pictures that fit the filter, in no order that means anything."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"terms": [{"text": "a dog on a beach"}, {"text": "people", "weight": -1}], "k": 20},
                {"terms": [], "where": "taken_at > '2024-01-01' and width > 1000"},
            ]
        },
    )

    where: Where | None = Field(None, description="A filter over columns.", examples=["width > 1000"])
    k: K = Field(60, description="Pictures of a page.")
    cut: Cut = Field(0.5, description="Leave out what is relevant with a probability below this.")
    captions: float = Field(
        1.0, ge=0, le=10, allow_inf_nan=False, description="Weight of the ranking by captions."
    )
    cursor: Cursor | None = Field(None, description="`next` of the page before, all else as it was.")


class Picture(BaseModel):
    """A picture of the index, and how well it fits where something was looked for."""

    id: str = Field(examples=[EXAMPLE_ID])
    name: str = Field(description="Of its file.", examples=["dog.jpg"])
    path: str = Field(examples=["/home/ada/Pictures/dog.jpg"])
    copies: list[str] = Field(description="Further files with the very same bytes.")
    width: int
    height: int
    format: str = Field(examples=["JPEG"])
    size: int = Field(description="Bytes.")
    tags: list[str] = Field(description="Names of the folders between the indexed one and the file.")
    mtime: str | None = None
    taken_at: str | None = None
    camera: str | None = None
    lat: float | None = None
    lon: float | None = None
    caption: str | None = None
    columns: dict[str, str | int | float | None] = Field({}, description="Null: none of the labels.")
    score: float | None = Field(None, description="Cosine with the query.")
    relevance: float | None = Field(None, description="Probability that it is what was meant.")
    by_caption: bool = Field(False, description="Whether its caption holds words of the query.")


class SearchAnswer(BaseModel):
    """One page of pictures, best first."""

    pictures: list[Picture]
    next: str | None = Field(description="Cursor of the next page; null at the end.")
    fits: int = Field(description="Pictures that fit the filter.")
    left_out: int = Field(description="Pictures of this page that are below the cut.")
    recall: str | None = Field(description="What share is found, where the search goes through a graph.")
    took_ms: float


class Upload(BaseModel):
    """A picture that was sent, kept for a while to search by."""

    id: str
    width: int
    height: int
    format: str
    expires_in_s: int


class ClassifyRequest(Said):
    """Pictures of the index and labels to tell them apart by."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"labels": ["animal", "food", "building"], "ids": [EXAMPLE_ID]}]},
    )

    labels: list[Label] = Field(min_length=2, max_length=LABELS_MOST)
    ids: list[Id] = Field(min_length=1, max_length=IDS_MOST)
    none: bool = Field(False, description="None of these, where no label stands out from unrelated ones.")
    templates: Literal["simple", "imagenet"] = "simple"


class Verdict(BaseModel):
    """What one picture was taken for."""

    id: str
    label: str | None = Field(description="Null where it is none of them.")
    probability: float = Field(description="Of the best label, given that it is one of them.")
    fits: float | None = Field(description="Probability that it fits at all; null where not asked.")
    probabilities: dict[str, float] = Field(description="Of the ten best labels.")


class ClassifyAnswer(BaseModel):
    """A verdict on each of the pictures that are in the index."""

    verdicts: list[Verdict]


class ExplainRequest(Query):
    """A picture, of the index or sent before, and a query."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"id": EXAMPLE_ID, "terms": [{"text": "a dog"}]}]},
    )

    id: Id | None = None
    upload: Handle | None = None
    method: Handle | None = Field(None, description="One of the answer's `methods`; null for the best.")

    @model_validator(mode="after")
    def _has_one(self) -> ExplainRequest:
        if (self.id is None) == (self.upload is None):
            raise ValueError("a picture must be given by one of id and upload")
        if self.is_empty:
            raise ValueError("a query must have at least one term")
        return self


class ExplainAnswer(BaseModel):
    """Where in the picture the model sees what was asked for."""

    map: list[list[float]] = Field(description="Rows from the top; 0 to 1; all 0 if nothing speaks for it.")
    box: tuple[float, float, float, float] = Field(
        description="Left, top, right and bottom of what the map covers, in shares of the picture."
    )
    score: float = Field(description="Cosine of the picture with the query.")
    method: str
    methods: list[str] = Field(description="What this model can be explained by, best first.")


class Collection(BaseModel):
    """A set of pictures whose vectors one model made."""

    key: str = Field(examples=["0f3a5c7e9b1d2f4a"])
    name: str
    address: str = Field(description="What `--store` names it by.")
    model: str = Field(examples=["embedded:lite"])
    fingerprint: str
    decode: str
    precision: str
    dim: int
    has_text: bool = Field(description="Whether words find pictures.")
    pictures: int
    captions: bool
    columns: list[str]
    roots: list[str] = Field(description="Folders that were indexed.")
    graph_rows: int
    recall: str | None
    disk_bytes: int | None


class Collections(BaseModel):
    """What is served."""

    collections: list[Collection]


class FacetValue(BaseModel):
    """A value and how many pictures have it."""

    value: str
    count: int


class Facets(BaseModel):
    """What the pictures can be told apart by."""

    pictures: int
    fields: dict[str, list[FacetValue]]


class JobRequest(Said):
    """An update of the index from the folders that it knows."""

    prune: bool = Field(False, description="Forget files that are gone.")


class JobFailure(BaseModel):
    """A file that could not be indexed."""

    path: str
    reason: str


class JobSummary(BaseModel):
    """What an update did, counted in files."""

    added: int
    changed: int
    moved: int
    unchanged: int
    removed: int
    failed: list[JobFailure]
    seconds: float


class Job(BaseModel):
    """An update of the index, under way or over."""

    id: str
    state: Literal["running", "done", "failed", "cancelled"]
    stage: str = Field(examples=["indexing"])
    done: int
    total: int | None
    started_at: str
    ended_at: str | None = None
    summary: JobSummary | None = None
    detail: str | None = Field(None, description="Why it failed.")


class JobList(BaseModel):
    """The newest updates, newest first."""

    jobs: list[Job]


class Health(BaseModel):
    """Whether the server works, and what it serves."""

    status: Literal["ok"] = "ok"
    version: str
    pictures: int
    model: str
    model_state: Literal["not loaded", "loading", "ready", "failed"]


class SessionRequest(Said):
    """A token to sign in with."""

    token: str = Field(max_length=1000)


class ProblemDetail(BaseModel):
    """RFC 9457."""

    type: str = Field(examples=["urn:chiasm:problem:not-found"])
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] | None = None
