"""Many files: what is read and written is planned, then done on one device or several."""

from swinir.jobs.plan import Job, JobResult, Outcome, plan_jobs
from swinir.jobs.run import restore_files

__all__ = ["Job", "JobResult", "Outcome", "plan_jobs", "restore_files"]
