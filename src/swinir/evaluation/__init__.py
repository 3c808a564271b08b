"""A Restorer and a test set make a Report."""

from swinir.evaluation.evaluate import Observation, evaluate, measure_samples
from swinir.evaluation.measures import METRICS, Metric
from swinir.evaluation.protocols import PROTOCOLS, EvaluationProtocol, Padding, choose_protocol
from swinir.evaluation.report import ImageFigures, ModelDescription, Report, make_document
from swinir.evaluation.testsets import EvaluationSet, Sample

__all__ = [
    "METRICS",
    "PROTOCOLS",
    "EvaluationProtocol",
    "EvaluationSet",
    "ImageFigures",
    "Metric",
    "ModelDescription",
    "Observation",
    "Padding",
    "Report",
    "Sample",
    "choose_protocol",
    "evaluate",
    "make_document",
    "measure_samples",
]
