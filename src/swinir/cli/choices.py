"""Options that several commands share. Nothing heavy is imported here: this is what help is printed from."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from swinir.errors import UsageError
from swinir.options import BackendChoice, Tile
from swinir.options import Precision as PrecisionChoice

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or cuda:all for every GPU of the machine.")
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble", help="Average over eight flips and rotations: better by a little, eight times the time."
    ),
]


class StoredPrecision(StrEnum):
    """Number types that files for later can hold."""

    FP32 = PrecisionChoice.FP32
    FP16 = PrecisionChoice.FP16


Precision = Annotated[
    PrecisionChoice,
    typer.Option(help="What products are computed in; auto is bf16 where the hardware has it, else fp32."),
]
Backend = Annotated[
    BackendChoice,
    typer.Option(
        help="What computes. onnxruntime and openvino have device names of their own: dml, coreml; gpu, npu."
    ),
]
ImageRange = Annotated[
    float | None,
    typer.Option(
        "--image-range",
        help="What white is inside the network, 1 or 255, of a file that does not say.",
        show_default="what restores a small picture",
    ),
]


# More than any format holds.
MOST_MEGAPIXELS = 1e9
# Those of ``imaging.DEFAULT_LIMITS``.
DEFAULT_MEGAPIXELS = "268"


def parse_path(text: str) -> Path:
    """Read a path; an empty one, such as an unset variable of a shell, would mean the current folder."""
    if not text:
        raise typer.BadParameter("a name is empty: write . for the current folder")
    return Path(text)


Inputs = Annotated[
    list[Path],
    typer.Argument(metavar="INPUT...", parser=parse_path, help="Images, or folders of images."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A file, or a folder for many. Without it: beside the input, under a name that says what was done.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="A name from `swinir models list`, a weights file (.safetensors, .pth), or hf:owner/name.",
    ),
]
TileText = Annotated[
    str,
    typer.Option(
        "--tile", help="auto (as memory allows), none (the whole image at once), or a side in pixels."
    ),
]
Quality = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.", show_default="looks like the original"),
]
ImageFormat = Annotated[
    str | None,
    typer.Option("--format", help="Of the output: png, jpg, webp, tif, avif.", show_default="the input's"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
MaxMegapixels = Annotated[
    float | None,
    typer.Option(
        min=0.001,
        max=MOST_MEGAPIXELS,
        show_default=DEFAULT_MEGAPIXELS,
        help="Refuse larger inputs, as a guard against files made to fill the memory.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]


def parse_tile(text: str) -> Tile:
    """Read --tile: auto, none, or a number of pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return None
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--tile is '{text}': write auto, none (the whole image at once) or a number of pixels")
