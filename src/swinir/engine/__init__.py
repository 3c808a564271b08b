"""Image in, image out."""

from swinir.engine.hardware import choose_device, choose_devices, multiplies_bf16
from swinir.engine.jobs import Job, Outcome, Result, plan_jobs
from swinir.engine.pipeline import restore_files
from swinir.engine.restorer import Progress, Restorer, Tile

__all__ = [
    "Job",
    "Outcome",
    "Progress",
    "Restorer",
    "Result",
    "Tile",
    "choose_device",
    "choose_devices",
    "multiplies_bf16",
    "plan_jobs",
    "restore_files",
]
