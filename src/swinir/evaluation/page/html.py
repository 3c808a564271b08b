"""What all pages have in common: templates, one file with all that it needs, pictures inside it."""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from swinir import imaging


def render(template: str, **values: Any) -> str:
    """Fill a template; all text is escaped, and the page allows no script but its own."""
    style, script = read_static("page.css"), read_static("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _make_environment().get_template(template)
    return page.render(style=style, script=script, script_hash=f"sha256-{digest}", **values)


def read_static(name: str) -> str:
    """Read a style sheet or a script."""
    return resources.files("swinir.evaluation.page").joinpath("static", name).read_text(encoding="utf-8")


def embed(data: bytes, media_type: str) -> str:
    """Return a URL that holds a file."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def embed_pixels(pixels: NDArray[np.uint8]) -> str:
    """Return a URL that holds a picture, [H, W, C], as PNG."""
    data, _ = imaging.encode(imaging.Image(pixels=pixels), "png")
    return embed(data, "image/png")


@cache
def _make_environment() -> Environment:
    loader = PackageLoader("swinir.evaluation.page", "templates")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
