"""SwinIR: image super-resolution, denoising and JPEG clean-up with the network of Liang et al. (2021).

Public names are imported on first use, so that ``import swinir`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swinir import imaging, metrics
    from swinir.engine import Enlarger, Restorer, TargetSize, choose_devices
    from swinir.jobs import plan_jobs, restore_files
    from swinir.model import ResidualConv, SwinIR, SwinIRConfig, Upsampler
    from swinir.provenance import __version__
    from swinir.weights import load_checkpoint

__all__ = [
    "Enlarger",
    "ResidualConv",
    "Restorer",
    "SwinIR",
    "SwinIRConfig",
    "TargetSize",
    "Upsampler",
    "__version__",
    "choose_devices",
    "imaging",
    "load_checkpoint",
    "metrics",
    "plan_jobs",
    "restore_files",
]

_HOMES = {
    "Enlarger": "swinir.engine",
    "ResidualConv": "swinir.model",
    "Restorer": "swinir.engine",
    "SwinIR": "swinir.model",
    "SwinIRConfig": "swinir.model",
    "TargetSize": "swinir.engine",
    "Upsampler": "swinir.model",
    "__version__": "swinir.provenance",
    "choose_devices": "swinir.engine",
    "load_checkpoint": "swinir.weights",
    "plan_jobs": "swinir.jobs",
    "restore_files": "swinir.jobs",
}
_ROOMS = ("imaging", "metrics")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"swinir.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'swinir' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
