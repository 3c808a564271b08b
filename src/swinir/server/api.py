"""The HTTP interface: what is asked, and what is answered."""

import asyncio
import json
import re
import time
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from swinir.errors import SwinIRError
from swinir.server.bodies import save_upload
from swinir.server.errors import RETRY_AFTER_S, refuse, status_of
from swinir.server.models import Operation
from swinir.server.service import DiskFullError, Job, QueueFullError, Service
from swinir.server.store import FINISHED, JobRecord, JobState
from swinir.weights.records import Model

# How often a waiting request looks whether its client is still there, and events say how far a job is.
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
MOST_ZIPPED = 500
ID = re.compile(r"[A-Za-z0-9_-]{24}")

router = APIRouter()


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
    format: str
    position: int
    fraction: float
    remaining_s: float | None
    message: str
    created_s: float


@dataclass(frozen=True)
class Wish:
    """What a client wants done, from the query of its request."""

    model: Annotated[str | None, Query(max_length=100, description="A name from /v1/models")] = None
    operation: Annotated[Operation, Query(description="What to do, where no model is named")] = (
        Operation.UPSCALE
    )
    scale: Annotated[int | None, Query(ge=1, le=8, description="How many times larger")] = None
    format: Annotated[
        Literal["png", "jpg", "webp", "tif", "avif"], Query(description="Format of the result")
    ] = "png"
    quality: Annotated[int | None, Query(ge=1, le=100, description="Of JPEG, WebP and AVIF")] = None


PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture itself, or a form with one file.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "string", "format": "binary"}},
                    "required": ["image"],
                }
            },
        },
    }
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"description": "No picture in the request"},
    408: {"description": "The client was silent for too long"},
    413: {"description": "The request is too large"},
    415: {"description": "The body is compressed"},
    422: {"description": "The picture cannot be read or is too large, or a parameter is out of range"},
    429: {"description": "The queue is full; see Retry-After"},
    503: {"description": "The service is stopping"},
    507: {"description": "No disk space"},
}


def service_of(request: Request) -> Service:
    """Return the service behind a request."""
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(service_of)]
WishOf = Annotated[Wish, Depends()]


@router.post(
    "/v1/restore",
    openapi_extra=PICTURE_BODY,
    responses={200: {"content": {"image/*": {}}, "description": "The restored picture"}, **REFUSALS},
    response_class=Response,
    summary="Restore a picture and wait for it",
)
async def restore(request: Request, service: ServiceOf, wish: WishOf) -> Response:
    """Restore one picture; the job ends when the client leaves."""
    job = await accept(request, service, wish, is_kept=False)
    record = await finished_or_left(request, service, job)
    if record.state is not JobState.DONE:
        service.forget(record)
        raise refuse(record.status, record.message)
    return result_response(service, record, then=BackgroundTask(service.forget, record))


@router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra=PICTURE_BODY,
    responses={202: {"model": JobStatus}, **REFUSALS},
    summary="Leave a picture to be restored",
)
async def create_job(request: Request, service: ServiceOf, wish: WishOf) -> JSONResponse:
    """Accept one picture; it is restored even if the client leaves or the service is started again."""
    job = await accept(request, service, wish, is_kept=True)
    status = status_of_job(service, job)
    where = f"{request.scope.get('root_path', '')}/v1/jobs/{status.id}"
    return JSONResponse(status.model_dump(), status_code=202, headers={"location": where})


@router.get("/v1/jobs/{job_id}", summary="Where a job is", responses={404: {"description": "No such job"}})
async def read_job(job_id: str, service: ServiceOf) -> JobStatus:
    """Tell how far a job is."""
    return status_of_job(service, find(service, job_id))


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 404: {"description": "No such job"}},
)
async def follow_job(job_id: str, service: ServiceOf) -> StreamingResponse:
    """Send the job's status whenever it changes, as server-sent events, until it has ended."""
    find(service, job_id)
    return StreamingResponse(events(service, job_id), media_type="text/event-stream")


@router.get(
    "/v1/jobs/{job_id}/result",
    summary="The restored picture of a job",
    response_class=Response,
    responses={404: {"description": "No such job"}, 409: {"description": "The job has no result (yet)"}},
)
async def read_result(job_id: str, service: ServiceOf) -> Response:
    """Send the result of a job."""
    job = find(service, job_id)
    if job.record.state is not JobState.DONE:
        raise refuse(409, f"the job is {job.record.state}: {job.record.message or 'no result yet'}")
    return result_response(service, job.record)


@router.delete("/v1/jobs/{job_id}", summary="Cancel a job, or forget its result")
async def delete_job(job_id: str, service: ServiceOf) -> JobStatus:
    """Cancel a job that waits or runs; forget one that has ended. A second time is no error while it is known."""
    job = find(service, job_id)
    await asyncio.to_thread(service.cancel, job_id)
    return status_of_job(service, service.find(job_id) or job)


@router.get("/v1/results.zip", summary="Several results in one file", response_class=Response)
async def read_results(
    service: ServiceOf, job: Annotated[list[str], Query(max_length=MOST_ZIPPED)]
) -> Response:
    """Send the results of several jobs as a zip file."""
    records = [find(service, job_id).record for job_id in job]
    ready = [record for record in records if record.state is JobState.DONE]
    if not ready:
        raise refuse(409, "none of these jobs has a result")
    path = service.result_path(ready[0]).parent / f"all-{time.time_ns()}.zip"
    await asyncio.to_thread(write_zip, service, ready, path)
    return FileResponse(
        path, media_type="application/zip", filename="swinir.zip", background=BackgroundTask(path.unlink)
    )


@router.get("/v1/models", summary="The models that may be chosen")
async def list_models(service: ServiceOf) -> list[ModelInfo]:
    """List models."""
    return [model_info(model) for model in service.models.models.values()]


@router.get("/health", summary="Whether the process answers")
async def read_health() -> dict[str, str]:
    """Answer, always."""
    return {"status": "alive"}


@router.get("/ready", summary="Whether a job would be accepted")
async def read_ready(service: ServiceOf) -> JSONResponse:
    """Answer 200 where a job would be accepted, else 503."""
    is_ready = service.is_ready
    return JSONResponse(
        {"status": "ready" if is_ready else "not accepting jobs"}, status_code=200 if is_ready else 503
    )


@router.get("/metrics", summary="Counters for Prometheus", response_class=Response)
async def read_metrics(service: ServiceOf) -> Response:
    """Send the counters."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def accept(request: Request, service: Service, wish: Wish, *, is_kept: bool) -> Job:
    """Take the picture of a request as a job, or raise what is against it."""
    folder: Path | None = None
    try:
        model = service.models.choose(wish.model, wish.operation, wish.scale)
        folder = await asyncio.to_thread(service.reserve_folder)
        name = await save_upload(request, folder / "upload")
        await asyncio.to_thread(service.check_upload, folder, model.scale)
        return await asyncio.to_thread(
            service.submit,
            folder,
            model=model.name,
            image_format=wish.format,
            quality=wish.quality,
            name=name,
            is_kept=is_kept,
        )
    except BaseException as error:
        if folder is not None:
            service.discard(folder)
        if isinstance(error, SwinIRError):
            raise as_refusal(error) from error
        raise


def as_refusal(error: SwinIRError) -> HTTPException:
    """Return an error of ours as a response."""
    retry = {"retry-after": str(RETRY_AFTER_S)}
    if isinstance(error, QueueFullError):
        return refuse(503 if "stopping" in str(error) else 429, str(error), retry)
    if isinstance(error, DiskFullError):
        return refuse(507, str(error), retry)
    return refuse(status_of(error), str(error))


async def finished_or_left(request: Request, service: Service, job: Job) -> JobRecord:
    """Wait until a job has ended; where its client leaves before, cancel it."""
    ended = asyncio.wrap_future(job.ended)
    try:
        while not ended.done():
            await asyncio.wait([ended], timeout=LOOK_S)
            if not ended.done() and await request.is_disconnected():
                await asyncio.to_thread(service.cancel, job.record.id)
                break
        return await ended
    except asyncio.CancelledError as error:
        service.cancel(job.record.id)
        if job.ended.cancelled():
            raise refuse(503, "the service is stopping: try again later") from error
        raise


def find(service: Service, job_id: str) -> Job:
    """Return a job, or raise 404; an id that none can have reaches no file and no table."""
    job = service.find(job_id) if ID.fullmatch(job_id) else None
    if job is None:
        raise refuse(404, "there is no such job, or its result has expired")
    return job


def status_of_job(service: Service, job: Job) -> JobStatus:
    """Describe a job."""
    record = job.record
    is_over = record.state in FINISHED
    return JobStatus(
        id=record.id,
        state=record.state,
        name=record.name,
        model=record.model,
        format=record.format,
        position=service.position(job) if record.state is JobState.QUEUED else 0,
        fraction=1.0 if is_over else job.fraction,
        remaining_s=None if is_over else job.remaining_s(time.time()),
        message=record.message,
        created_s=record.created_s,
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
        service.result_path(record), media_type=MEDIA_TYPES[record.format], headers=headers, background=then
    )


def result_name(record: JobRecord) -> str:
    """Return a file name for a result: the client's, without anything that is not of a name."""
    stem = re.sub(r"[^\w .()-]", "_", Path(record.name.replace("\\", "/")).stem).strip(" .") or "picture"
    return f"{stem}_{record.model}.{record.format}"


def write_zip(service: Service, records: list[JobRecord], path: Path) -> None:
    """Write results to a zip file, each under a name of its own."""
    names: set[str] = set()
    with zipfile.ZipFile(path, "w") as archive:
        for record in records:
            name = result_name(record)
            if name in names:
                name = f"{record.id}_{name}"
            names.add(name)
            archive.write(service.result_path(record), name)


def model_info(model: Model) -> ModelInfo:
    """Describe a model."""
    return ModelInfo(
        name=model.name,
        task=str(model.task),
        scale=model.scale,
        licence=model.licence,
        bundled=str(model.origin) == "bundled",
    )
