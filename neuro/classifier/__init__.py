"""The classifier of Parkinson's disease, and the folders that hold it."""

from neuro.classifier.parkinson import ParkinsonClassifier

__all__ = ["ParkinsonClassifier"]
