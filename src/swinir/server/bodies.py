"""Bodies of requests: how large, how slow, and how they reach the disk."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, UploadFile
from starlette.responses import JSONResponse

from swinir.server.errors import refuse
from swinir.server.guard import Application, Message, Receive, Scope, Send
from swinir.server.jobs import DiskFullError

# Parts of a form: one picture, and room for fields that a client adds.
MOST_FILES, MOST_FIELDS, MOST_FIELD_BYTES = 1, 16, 4096
# Of an upload that are written between two looks at the space that is left.
COPY_BYTES = 2**20
# Bytes of a form around its picture.
FORM_BYTES = 2**16
# What a client has to send on average, after its first seconds.
LEAST_BYTES_PER_S = 2**13


class BodyLimits:
    """Ends requests whose bodies are too large or too slow; an ASGI application around another."""

    def __init__(self, app: Application, *, max_bytes: int, client_s: float) -> None:
        self._app = app
        self._max_bytes = max_bytes + FORM_BYTES
        self._client_s = client_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if headers.get("content-encoding", "identity").lower() != "identity":
            await _respond(scope, receive, send, 415, "send the image as it is, without a content encoding")
            return
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self._max_bytes:
            await _respond(scope, receive, send, 413, self._too_large())
            return
        num_bytes, waited_s = 0, 0.0
        is_complete = False

        async def receive_limited() -> Message:
            nonlocal num_bytes, waited_s, is_complete
            if is_complete:
                return await receive()  # waits until the client leaves
            # Who sends single bytes now and then is no better than who sends none.
            left_s = self._client_s + num_bytes / LEAST_BYTES_PER_S - waited_s
            began_s = time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), min(self._client_s, left_s))
            except TimeoutError as error:
                raise refuse(408, "the body comes too slowly", {"connection": "close"}) from error
            waited_s += time.monotonic() - began_s
            num_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if num_bytes > self._max_bytes:
                raise refuse(413, self._too_large())
            return message

        await self._app(scope, receive_limited, send)

    def _too_large(self) -> str:
        return f"the request is larger than {self._max_bytes - FORM_BYTES:,} bytes (--max-upload-mib)"


async def _respond(scope: Scope, receive: Receive, send: Send, status: int, message: str) -> None:
    response = JSONResponse({"detail": message}, status_code=status)
    await response(scope, receive, send)


async def save_upload(request: Request, destination: Path, check_space: Callable[[], None]) -> str:
    """Write the picture of a request to a file, and return the name that the client gives it, or "".

    The body is the picture itself, or a form with one file.

    Args:
        request: whose body is read.
        destination: a file that is not there yet.
        check_space: raises DiskFullError where no more may be written; called now and then in a thread.

    Raises:
        HTTPException: 400 for a form without one picture.
        DiskFullError: the disk is full, or the space for jobs is used up.
    """
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            return await _save_form(request, destination, check_space)
        await _copy(request.stream(), destination, check_space)
    except OSError as error:
        destination.unlink(missing_ok=True)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DiskFullError("there is no space for the upload: try again later") from error
    except BaseException:
        destination.unlink(missing_ok=True)
        raise
    return request.query_params.get("name", "")


async def _save_form(request: Request, destination: Path, check_space: Callable[[], None]) -> str:
    async with request.form(
        max_files=MOST_FILES, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
    ) as form:
        files = [value for value in form.values() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise refuse(400, f"the form has {len(files)} files, but must have one picture")
        await _copy(_chunks(files[0]), destination, check_space)
        return files[0].filename or ""


async def _chunks(upload: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await upload.read(COPY_BYTES):
        yield chunk


async def _copy(chunks: AsyncIterator[bytes], destination: Path, check_space: Callable[[], None]) -> None:
    num_bytes, num_checked = 0, 0
    with destination.open("xb") as file:
        async for chunk in chunks:
            num_bytes += len(chunk)
            await asyncio.to_thread(file.write, chunk)
            if num_bytes - num_checked >= COPY_BYTES:
                file.flush()  # what is counted lies on the disk
                await asyncio.to_thread(check_space)
                num_checked = num_bytes
    if num_bytes == 0:
        destination.unlink()
        raise HTTPException(400, detail="the request has no picture")
