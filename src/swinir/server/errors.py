"""Refusals of requests: a status and one sentence."""

from collections.abc import Mapping

from fastapi import HTTPException

from swinir.errors import ImageError, ImageTooLargeError, SwinIRError, UsageError

RETRY_AFTER_S = 10
# What may be otherwise in a while: the queue is full, the service stops, the disk is full.
TEMPORARY = frozenset({429, 503, 507})


def refuse(status: int, message: str, headers: Mapping[str, str] | None = None) -> HTTPException:
    """Return an error response with one sentence."""
    retry = {"retry-after": str(RETRY_AFTER_S)} if status in TEMPORARY else {}
    return HTTPException(status, detail=message, headers={**retry, **(headers or {})})


def status_of(error: SwinIRError) -> int:
    """Return the HTTP status of an error: 422 for what the image or the request is, 500 for what failed here."""
    return 422 if isinstance(error, ImageError | ImageTooLargeError | UsageError) else 500
