"""Image in, image out."""

from swinir.engine.hardware import multiplies_bf16
from swinir.engine.jobs import Job, Outcome, Result, plan_jobs, restore_files
from swinir.engine.restorer import Progress, Restorer

__all__ = [
    "Job",
    "Outcome",
    "Progress",
    "Restorer",
    "Result",
    "multiplies_bf16",
    "plan_jobs",
    "restore_files",
]
