"""What a client may ask for: parameters and bodies of requests, and how they are refused."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Query

from swinir.engine import TargetSize
from swinir.engine.enlarge import MOST_SCALE
from swinir.errors import SwinIRError
from swinir.server.errors import refuse, status_of
from swinir.server.jobs import DiskFullError, QueueFullError, StoppingError
from swinir.server.models import Operation
from swinir.server.store import StoreError

MOST_SIDE = 1_000_000


@dataclass(frozen=True)
class RestoreRequest:
    """What a client asks for, from the query of its request."""

    model: Annotated[str | None, Query(max_length=100, description="A name from /v1/models")] = None
    operation: Annotated[Operation, Query(description="What to do, where no model is named")] = (
        Operation.UPSCALE
    )
    scale: Annotated[
        float | None,
        Query(
            ge=1, le=MOST_SCALE, allow_inf_nan=False, description="How many times larger, such as 2 or 1.5"
        ),
    ] = None
    width: Annotated[int | None, Query(ge=1, le=MOST_SIDE, description="Pixels across at most")] = None
    height: Annotated[int | None, Query(ge=1, le=MOST_SIDE, description="Pixels down at most")] = None
    max_side: Annotated[int | None, Query(ge=1, le=MOST_SIDE, description="Pixels of the longer side")] = None
    format: Annotated[
        Literal["png", "jpg", "webp", "tif", "avif"], Query(description="Format of the result")
    ] = "png"
    quality: Annotated[int | None, Query(ge=1, le=100, description="Of JPEG, WebP and AVIF")] = None

    salvage: Annotated[
        bool,
        Query(description="Of a damaged picture, restore what can be decoded; a note says what is missing"),
    ] = False

    @property
    def size(self) -> TargetSize | float | None:
        """The size, or how many times larger; None for the model's own scale.

        Raises:
            UsageError: it contradicts itself.
        """
        if self.width is self.height is self.max_side is None:
            return self.scale
        return TargetSize(scale=self.scale, width=self.width, height=self.height, max_side=self.max_side)


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


def as_refusal(error: SwinIRError) -> HTTPException:
    """Return an error of ours as a response."""
    for kind, status in (
        (QueueFullError, 429),
        (StoppingError, 503),
        (DiskFullError, 507),
        (StoreError, 503),
    ):
        if isinstance(error, kind):
            return refuse(status, str(error))
    return refuse(status_of(error), str(error))
