"""Picture search: an index over folders of photographs, searched by words, by a picture or by a vector."""

from vision.retrieval.hits import Hit
from vision.retrieval.index import ImageIndex
from vision.retrieval.ingest import IngestOptions
from vision.retrieval.query import Query, Term
from vision.retrieval.summary import Failure, IndexSummary

__all__ = ["Failure", "Hit", "ImageIndex", "IndexSummary", "IngestOptions", "Query", "Term"]
