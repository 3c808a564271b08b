"""Options that several commands share. Nothing heavy is imported here: this is what help is printed from."""

from enum import StrEnum
from typing import Annotated

import typer

from swinir.errors import UsageError
from swinir.options import BackendChoice, Tile

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Devices = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:N, or cuda:all for every GPU of the machine.")
]
ImageRange = Annotated[
    float | None,
    typer.Option(
        "--image-range",
        help="What white is inside the network, 1 or 255, of a file that does not say.",
        show_default="what restores a small picture",
    ),
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
    typer.Option(help="What computes the layers; auto is the fastest that is right on the device."),
]


Backend = Annotated[
    BackendChoice,
    typer.Option(
        help="What computes. onnxruntime and openvino have device names of their own: dml, coreml; gpu, npu."
    ),
]


def tile_of(text: str) -> Tile:
    """Read --tile: auto, none, or a number of pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return None
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--tile is '{text}': write auto, none (the whole image at once) or a number of pixels")
