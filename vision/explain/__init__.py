"""Why a picture comes up: `explain(backbone, picture, target)` shows what in it speaks for the target."""

from vision.explain.explain import explain
from vision.explain.explanation import Explanation
from vision.explain.methods import METHODS, Method, methods_for

__all__ = ["METHODS", "Explanation", "Method", "explain", "methods_for"]
