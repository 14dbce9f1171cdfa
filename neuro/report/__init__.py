"""The report of an evaluation: results of a folder -> one page."""
