"""A Restorer and a data set make a Report."""

from swinir.evaluation.evaluate import Protocol, evaluate
from swinir.evaluation.report import ImageFigures, Report

__all__ = ["ImageFigures", "Protocol", "Report", "evaluate"]
