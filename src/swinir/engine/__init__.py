"""Image in, image out."""

from swinir.engine.enlarge import MODEL_OF_SCALE, Enlarger, TargetSize
from swinir.engine.files import FileRestoration, ImageRestorer, Picture
from swinir.engine.hardware import choose_device, choose_devices, multiplies_bf16
from swinir.engine.mark import Mark, hash_file, read_mark
from swinir.engine.progress import Progress
from swinir.engine.restorer import Restorer
from swinir.engine.runtime_pass import RUNTIMES

__all__ = [
    "MODEL_OF_SCALE",
    "RUNTIMES",
    "Enlarger",
    "FileRestoration",
    "ImageRestorer",
    "Mark",
    "Picture",
    "Progress",
    "Restorer",
    "TargetSize",
    "choose_device",
    "choose_devices",
    "hash_file",
    "multiplies_bf16",
    "read_mark",
]
