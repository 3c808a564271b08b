"""Reports and pictures as one self-contained page of HTML each."""

from swinir.evaluation.page.comparison import Picture, write_comparison
from swinir.evaluation.page.crops import CropCollector, Crops
from swinir.evaluation.page.report import ReportView, write_page

__all__ = ["CropCollector", "Crops", "Picture", "ReportView", "write_comparison", "write_page"]
