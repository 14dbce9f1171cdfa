"""Picture search: an index over folders of photographs, searched by words, by a picture or by a vector."""

from vision.retrieval.index import Hit, ImageIndex
from vision.retrieval.ingest import IngestOptions
from vision.retrieval.summary import Failure, IndexSummary

__all__ = ["Failure", "Hit", "ImageIndex", "IndexSummary", "IngestOptions"]
