"""The application: routes, guards around them, and the page."""

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path

import anyio
from fastapi import FastAPI, HTTPException, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.middleware import Middleware

import swinir
from swinir.errors import SwinIRError
from swinir.server import api
from swinir.server.bodies import BodyLimits
from swinir.server.guard import Guard
from swinir.server.metrics import Metrics
from swinir.server.models import ModelTable
from swinir.server.options import ServerOptions
from swinir.server.requests import as_refusal
from swinir.server.service import Service

logger = logging.getLogger(__name__)

PAGE_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def create_app(options: ServerOptions, *, keeps_jobs: bool = True) -> FastAPI:
    """Build the ASGI application; its jobs begin with its lifespan.

    Args:
        options: see there.
        keeps_jobs: whether it has jobs and the page, which a client finds again at the same process only.

    Raises:
        UsageError: a model is unknown.
    """
    models = ModelTable(options.models, options.restorer, image_range=options.image_range)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        service = Service(options, models, Metrics())
        app.state.service = service
        service.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.stop)

    app = FastAPI(
        title="swinir",
        version=swinir.__version__,
        description="Enlarges and cleans up pictures with SwinIR.",
        docs_url=None,  # that page loads scripts from elsewhere; the description itself is at /openapi.json
        redoc_url=None,
        lifespan=lifespan,
        root_path=options.root_path,
        middleware=[
            Middleware(Guard, options=options),
            Middleware(BodyLimits, max_bytes=options.max_upload_bytes, client_s=options.client_s),
        ],
    )
    app.include_router(api.router)
    app.add_exception_handler(SwinIRError, answer_error)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(Exception, answer_bug)
    if keeps_jobs:
        app.include_router(api.job_router)
        _add_page(app)
    return app


async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error of ours with its sentence."""
    assert isinstance(error, SwinIRError)
    return await http_exception_handler(request, as_refusal(error))


async def answer_invalid(request: Request, error: Exception) -> Response:
    """Answer parameters that are none with a sentence on the first."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    message = f"{first['loc'][-1]}: {first['msg'][:1].lower()}{first['msg'][1:]}"
    return await http_exception_handler(request, HTTPException(422, detail=message))


async def answer_bug(request: Request, error: Exception) -> Response:
    """Answer a fault of ours without saying anything about its insides."""
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"detail": "the service failed on this request"}, status_code=500)


def _add_page(app: FastAPI) -> None:
    folder = Path(str(resources.files("swinir.server"))) / "static"
    files = {path.name: path for path in folder.iterdir() if path.suffix in PAGE_TYPES}

    def send(name: str) -> Response:
        if name not in files:
            return JSONResponse({"detail": "there is no such file"}, status_code=404)
        path = files[name]
        return FileResponse(path, media_type=PAGE_TYPES[path.suffix])

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return send("index.html")

    @app.get("/static/{name}", include_in_schema=False)
    async def page_file(name: str) -> Response:
        return send(name)
