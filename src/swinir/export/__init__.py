"""The network for other programs: ONNX, OpenVINO and PyTorch files, each proven, and the programs that compute them.

What is optional is imported by those who use it, not here.
"""

from swinir.export.files import Exported, Format, export_model, find_format
from swinir.export.runtimes import Runtime, choose_device, list_devices, open_model
from swinir.export.verification import Difference

__all__ = [
    "Difference",
    "Exported",
    "Format",
    "Runtime",
    "choose_device",
    "export_model",
    "find_format",
    "list_devices",
    "open_model",
]
