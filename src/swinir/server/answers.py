"""What a client is answered: models, jobs and how far they are, results."""

import asyncio
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from fastapi.responses import FileResponse, Response
from pydantic import BaseModel
from starlette.background import BackgroundTask

from swinir.server.jobs import Job
from swinir.server.service import Service
from swinir.server.store import FINISHED, JobRecord, JobState
from swinir.weights.records import Model

# How often events say how far a job is.
LOOK_S = 0.25
# Events without news keep a connection open through proxies.
KEEP_ALIVE_S = 10.0
MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "webp": "image/webp",
    "tif": "image/tiff",
    "avif": "image/avif",
}


class ModelInfo(BaseModel):
    """One model that may be chosen."""

    name: str
    task: str
    scale: int
    licence: str | None
    bundled: bool


class JobStatus(BaseModel):
    """Where a job is."""

    id: str
    state: JobState
    name: str
    model: str
    size: str
    format: str
    position: int
    fraction: float
    remaining_s: float | None
    message: str
    created_s: float
    expires_s: float | None


def status_of_job(service: Service, job: Job) -> JobStatus:
    """Describe a job."""
    record = job.record
    is_over = record.state in FINISHED
    return JobStatus(
        id=record.id,
        state=record.state,
        name=record.name,
        model=record.model,
        size="" if record.size is None else record.size.label,
        format=record.format,
        position=service.queue.position(job) if record.state is JobState.QUEUED else 0,
        fraction=1.0 if is_over else job.fraction,
        remaining_s=None if is_over else job.remaining_s(time.time()),
        message=record.message,
        created_s=record.created_s,
        expires_s=record.updated_s + service.options.result_s if is_over else None,
    )


async def events(service: Service, job_id: str) -> AsyncIterator[str]:
    """Yield a job's status as server-sent events whenever it has changed."""
    last, quiet_s = "", 0.0
    while True:
        job = service.find(job_id)
        if job is None:
            return
        text = status_of_job(service, job).model_dump_json(exclude={"remaining_s"})
        if text != last:
            last, quiet_s = text, 0.0
            yield f"data: {status_of_job(service, job).model_dump_json()}\n\n"
        elif quiet_s >= KEEP_ALIVE_S:
            quiet_s = 0.0
            yield ": still here\n\n"
        if job.record.state in FINISHED:
            return
        await asyncio.sleep(LOOK_S)
        quiet_s += LOOK_S


def result_response(service: Service, record: JobRecord, then: BackgroundTask | None = None) -> Response:
    """Send a result: always an image that was encoded here, to be saved and not to be run."""
    headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(result_name(record), safe='')}"}
    if record.message:
        headers["x-swinir-notes"] = json.dumps(record.message)
    return FileResponse(
        service.files.result(record), media_type=MEDIA_TYPES[record.format], headers=headers, background=then
    )


def result_name(record: JobRecord) -> str:
    """Return a file name for a result: the client's, without anything that is not of a name."""
    stem = re.sub(r"[^\w .()-]", "_", Path(record.name.replace("\\", "/")).stem).strip(" .") or "picture"
    return f"{stem}_{record.model if record.size is None else record.size.label}.{record.format}"


def write_zip(service: Service, records: list[JobRecord], path: Path) -> None:
    """Write results to a zip file, each under a name of its own."""
    names: set[str] = set()
    with zipfile.ZipFile(path, "w") as archive:
        for record in records:
            name = result_name(record)
            if name in names:
                name = f"{record.id}_{name}"
            names.add(name)
            archive.write(service.files.result(record), name)


def model_info(model: Model) -> ModelInfo:
    """Describe a model."""
    return ModelInfo(
        name=model.name,
        task=str(model.task),
        scale=model.scale,
        licence=model.licence,
        bundled=str(model.origin) == "bundled",
    )
