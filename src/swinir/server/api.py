"""The HTTP interface: its routes."""

import asyncio
import re
import secrets
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.background import BackgroundTask

from swinir.server.answers import (
    JobStatus,
    ModelInfo,
    events,
    model_info,
    result_response,
    status_of_job,
    write_zip,
)
from swinir.server.bodies import save_upload
from swinir.server.errors import refuse
from swinir.server.jobs import Job
from swinir.server.models import Choice
from swinir.server.requests import PICTURE_BODY, REFUSALS, RestoreRequest
from swinir.server.service import Service
from swinir.server.store import JobRecord, JobState

# How often a waiting request looks whether its client is still there.
LOOK_S = 0.25
MOST_ZIPPED = 500
MOST_NAME = 200
ID = re.compile(r"[A-Za-z0-9_-]{24}")

router = APIRouter()
# What a client finds again at the same process only.
job_router = APIRouter()


def service_of(request: Request) -> Service:
    """Return the service behind a request."""
    service: Service = request.app.state.service
    return service


ServiceOf = Annotated[Service, Depends(service_of)]
RestoreRequestOf = Annotated[RestoreRequest, Depends()]


@router.post(
    "/v1/restore",
    openapi_extra=PICTURE_BODY,
    responses={200: {"content": {"image/*": {}}, "description": "The restored picture"}, **REFUSALS},
    response_class=Response,
    summary="Restore a picture and wait for it",
)
async def restore(request: Request, service: ServiceOf, asked: RestoreRequestOf) -> Response:
    """Restore one picture; the job ends when the client leaves."""
    job = await accept(request, service, asked, is_kept=False)
    record = await finished_or_left(request, service, job)
    if record.state is not JobState.DONE:
        service.forget(record)
        raise refuse(record.status, record.message)
    return result_response(service, record, then=BackgroundTask(service.forget, record))


@job_router.post(
    "/v1/jobs",
    status_code=202,
    openapi_extra=PICTURE_BODY,
    responses={202: {"model": JobStatus}, **REFUSALS},
    summary="Leave a picture to be restored",
)
async def create_job(request: Request, service: ServiceOf, asked: RestoreRequestOf) -> JSONResponse:
    """Accept one picture; it is restored even if the client leaves or the service is started again."""
    job = await accept(request, service, asked, is_kept=True)
    status = status_of_job(service, job)
    where = f"{request.scope.get('root_path', '')}/v1/jobs/{status.id}"
    return JSONResponse(status.model_dump(), status_code=202, headers={"location": where})


@job_router.get(
    "/v1/jobs/{job_id}", summary="Where a job is", responses={404: {"description": "No such job"}}
)
async def read_job(job_id: str, service: ServiceOf) -> JobStatus:
    """Tell how far a job is."""
    return status_of_job(service, find(service, job_id))


@job_router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, 404: {"description": "No such job"}},
)
async def follow_job(job_id: str, service: ServiceOf) -> StreamingResponse:
    """Send the job's status whenever it changes, as server-sent events, until it has ended."""
    find(service, job_id)
    return StreamingResponse(events(service, job_id), media_type="text/event-stream")


@job_router.get(
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


@job_router.delete("/v1/jobs/{job_id}", summary="Cancel a job, or forget its result")
async def delete_job(job_id: str, service: ServiceOf) -> JobStatus:
    """Cancel a job that waits or runs; forget one that has ended. A second time is no error while it is known."""
    job = find(service, job_id)
    await asyncio.to_thread(service.cancel, job_id)
    return status_of_job(service, service.find(job_id) or job)


@job_router.get("/v1/results.zip", summary="Several results in one file", response_class=Response)
async def read_results(
    service: ServiceOf, job: Annotated[list[str], Query(max_length=MOST_ZIPPED)]
) -> Response:
    """Send the results of several jobs as a zip file."""
    records = [find(service, job_id).record for job_id in job]
    ready = [record for record in records if record.state is JobState.DONE]
    if not ready:
        raise refuse(409, "none of these jobs has a result")
    try:
        path = await asyncio.to_thread(service.files.archive, secrets.token_urlsafe(18))
        await asyncio.to_thread(write_zip, service, ready, path)
    except OSError as error:
        raise refuse(507, "there is no space for the zip file: fetch the results one by one") from error
    return FileResponse(
        path,
        media_type="application/zip",
        filename="swinir.zip",
        background=BackgroundTask(service.files.discard, path.parent.name),
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


async def accept(request: Request, service: Service, asked: RestoreRequest, *, is_kept: bool) -> Job:
    """Take the picture of a request as a job, or raise what is against it."""
    job_id: str | None = None
    try:
        choice = service.models.choose(asked.model, asked.operation, asked.size)
        job_id = await asyncio.to_thread(service.reserve)
        name = await save_upload(request, service.files.upload(job_id), service.check_space)
        height, width = await asyncio.to_thread(service.check_upload, job_id, choice, salvage=asked.salvage)
        record = new_record(job_id, choice, asked, name=name, is_kept=is_kept)
        return await asyncio.to_thread(service.submit, record, num_pixels=height * width)
    except BaseException:
        if job_id is not None:
            service.files.discard(job_id)
        raise


def new_record(job_id: str, choice: Choice, asked: RestoreRequest, *, name: str, is_kept: bool) -> JobRecord:
    """Describe a job that has just come."""
    now_s = time.time()
    size = {} if choice.size is None else vars(choice.size)
    return JobRecord(
        id=job_id,
        state=JobState.QUEUED,
        created_s=now_s,
        updated_s=now_s,
        model=choice.model,
        format=asked.format,
        quality=asked.quality,
        name=name[:MOST_NAME],
        salvage=asked.salvage,
        is_kept=is_kept,
        **size,
    )


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
