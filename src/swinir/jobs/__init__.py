"""Many files: what is read and written is planned, then done on one device or several."""

from swinir.jobs.bands import restore_by_bands
from swinir.jobs.cluster import ClusterOptions, restore_on_cluster
from swinir.jobs.estimate import Estimate, estimate_work
from swinir.jobs.options import AnyRestorer, JobChoices, JobOptions
from swinir.jobs.plan import Job, JobPlan, JobResult, Outcome, plan_jobs
from swinir.jobs.run import restore_files

__all__ = [
    "AnyRestorer",
    "ClusterOptions",
    "Estimate",
    "Job",
    "JobChoices",
    "JobOptions",
    "JobPlan",
    "JobResult",
    "Outcome",
    "estimate_work",
    "plan_jobs",
    "restore_by_bands",
    "restore_files",
    "restore_on_cluster",
]
