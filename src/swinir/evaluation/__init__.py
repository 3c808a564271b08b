"""A Restorer and a test set make a Report."""

from swinir.evaluation.evaluate import evaluate, evaluate_pairs
from swinir.evaluation.measures import METRICS, Metric
from swinir.evaluation.protocols import PROTOCOLS, EvaluationProtocol, Padding, choose_protocol
from swinir.evaluation.report import ImageFigures, Report
from swinir.evaluation.testsets import EvaluationSet

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "EvaluationProtocol",
    "EvaluationSet",
    "ImageFigures",
    "Metric",
    "Padding",
    "Report",
    "choose_protocol",
    "evaluate",
    "evaluate_pairs",
]
