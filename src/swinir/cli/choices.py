"""Options that several commands share. Nothing heavy is imported here: this is what help is printed from."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from swinir.errors import UsageError
from swinir.options import (
    BackendChoice,
    FilmOptions,
    FramesChoice,
    Precision,
    RestorerOptions,
    TiffLayout,
    Tile,
    VideoCodec,
)
from swinir.urls import path_of

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble", help="Average over eight flips and rotations: better by a little, eight times the time."
    ),
]


# Number types that files of models have.
StoredPrecision = Literal["fp32", "fp16"]
PrecisionOption = Annotated[
    Precision,
    typer.Option(help="What products are computed in; auto is bf16 where the hardware has it, else fp32."),
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
MOST_SIDE_PX = 10_000_000
MOST_MEGAPIXELS = 1e9
# Those of ``imaging.STREAM_LIMITS`` and ``imaging.DEFAULT_LIMITS``.
DEFAULT_MEGAPIXELS = "68,719, and 268 where two models make a size"


def parse_path(text: str) -> Path:
    """Read a path or a URL; an empty one, such as an unset variable of a shell, would mean the current folder."""
    if not text:
        raise typer.BadParameter("a name is empty: write . for the current folder")
    return path_of(text)


Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="INPUT...",
        parser=parse_path,
        show_default=False,
        help="Images, folders of images, patterns such as 'scans/**/*.png', @FILE for a list; - is standard input.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class RestoringOptions:
    """What every command that restores files takes: each field is an option of the command line."""

    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            parser=parse_path,
            metavar="PATH",
            help="A file, or a folder for many. Without it: beside the input, under a name that says what was done.",
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A name from `swinir models list`, a weights file (.safetensors, .pth), or hf:owner/name.",
        ),
    ] = None
    image_range: ImageRange = None
    device: Annotated[
        str,
        typer.Option("--device", help="auto, cpu, cuda, cuda:N, or cuda:all for every GPU of the machine."),
    ] = "auto"
    precision: PrecisionOption = Precision.AUTO
    tile: Annotated[
        str,
        typer.Option(help="auto (as memory allows), none (the whole image at once), or a side in pixels."),
    ] = "auto"
    ensemble: Ensemble = False
    backend: Annotated[
        BackendChoice,
        typer.Option(
            help="What computes. onnxruntime and openvino have device names of their own: dml, coreml; gpu, npu."
        ),
    ] = BackendChoice.AUTO
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the process is to stay below, such as 2G; on a GPU, what tiles may take of its memory.",
            show_default="1.5 GB on a CPU, what is free on a GPU",
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.", show_default="looks like the original"),
    ] = None
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Of the output: png, jpg, webp, tif, avif, or dzi (Deep Zoom, for web pages).",
            show_default="the input's",
        ),
    ] = None
    tiff_layout: Annotated[
        TiffLayout,
        typer.Option(
            help="Of TIFF files: strips, tiles, or a pyramid of tiles at all sizes, which viewers zoom in."
        ),
    ] = TiffLayout.STRIPS
    frames: Annotated[
        FramesChoice,
        typer.Option(
            help="Of animations, and pages: auto restores all where the output can hold them, else the first."
        ),
    ] = FramesChoice.AUTO
    salvage: Annotated[
        bool,
        typer.Option(
            "--salvage", help="Of damaged files, restore what can be decoded; a note says what is missing."
        ),
    ] = False
    video_codec: Annotated[
        VideoCodec,
        typer.Option(
            help="Of films: what encodes the frames; auto is H.264 for 8 bits, HEVC for more, AV1 in WebM."
        ),
    ] = VideoCodec.AUTO
    crf: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=63,
            help="Of films: constant quality of the encoder, lower is better.",
            show_default="looks like the frames",
        ),
    ] = None
    preset: Annotated[
        str | None,
        typer.Option(
            help="Of films: how long the encoder may take, such as fast or slow; for libsvtav1 a number.",
            show_default="the encoder's",
        ),
    ] = None
    deinterlace: Annotated[
        bool,
        typer.Option("--deinterlace", help="Make whole frames of interlaced films, which are refused else."),
    ] = False
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")] = False
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Make results again whose input or settings have changed, and leave the others."
        ),
    ] = False
    is_ended_by_failure: Annotated[
        bool, typer.Option("--fail-fast", help="Begin no other file once one has failed.")
    ] = False
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Restore on a Ray cluster: auto (this machine's), local (processes of this machine), or host:6379.",
        ),
    ] = None
    ray_cpus: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cores of each worker on a cluster.", show_default="1 beside a GPU, 4 without"
        ),
    ] = None
    listed: Annotated[
        Path | None,
        typer.Option("--list", help="A file with a name of an input on each line; - for standard input."),
    ] = None
    include: Annotated[
        list[str] | None, typer.Option(help="Of folders, only files that fit a pattern such as '*.tif'.")
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(help="Of folders, no files that fit a pattern such as 'drafts/*'.")
    ] = None
    max_megapixels: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=MOST_MEGAPIXELS,
            show_default=DEFAULT_MEGAPIXELS,
            help="Refuse larger inputs, as a guard against files made to work for ever.",
        ),
    ] = None
    no_limits: Annotated[
        bool,
        typer.Option("--no-limits", help="Read files that seem made to fill the memory or to work for ever."),
    ] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False
    is_json: Annotated[
        bool,
        typer.Option("--json", help="Write a line of JSON for each file to standard output, for programs."),
    ] = False

    @property
    def restorer(self) -> RestorerOptions:
        """Those that a Restorer takes."""
        return RestorerOptions(
            device=self.device,
            precision=self.precision,
            tile=parse_tile(self.tile),
            ensemble=self.ensemble,
            backend=self.backend,
            memory_bytes=None if self.memory is None else parse_bytes(self.memory),
        )

    @property
    def film(self) -> FilmOptions:
        """Those of films."""
        return FilmOptions(
            codec=self.video_codec, crf=self.crf, preset=self.preset, deinterlace=self.deinterlace
        )


def with_restoring_options(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function that takes ``options``: its fields become parameters behind the others."""
    kinds = get_type_hints(RestoringOptions, include_extras=True)
    expanded = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name])
        for field in fields(RestoringOptions)
    ]

    @wraps(command)
    def run(*inputs: Any, **given: Any) -> None:
        chosen = {each.name: given.pop(each.name) for each in expanded}
        if not given.get("inputs") and chosen["listed"] is None:
            raise typer.BadParameter(
                "nothing to restore is named: name an image, a folder, or a list (--list)"
            )
        command(*inputs, options=RestoringOptions(**chosen), **given)

    own = [each for each in signature(command).parameters.values() if each.name != "options"]
    run.__signature__ = Signature([*own, *expanded])  # pyright: ignore[reportAttributeAccessIssue]
    return run


def parse_tile(text: str) -> Tile:
    """Read --tile: auto, none, or a number of pixels."""
    if text == "auto":
        return "auto"
    if text == "none":
        return None
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--tile is '{text}': write auto, none (the whole image at once) or a number of pixels")


def parse_bytes(text: str) -> int:
    """Read --memory: 2G, 1500M, 1.5 GB."""
    units = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
    number = text.strip().lower().removesuffix("b").removesuffix("i")
    unit = number[-1:] if number[-1:] in units else ""
    try:
        return int(float(number.removesuffix(unit)) * units[unit])
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--memory is '{text}': write a size such as 2G or 900M") from error


def parse_scale(text: str | Fraction) -> Fraction:
    """Read --scale: 2, 1.5, 4/3."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise typer.BadParameter(f"'{text}' is no number: write one such as 2 or 1.5") from error


def parse_size(text: str, option: str) -> tuple[int, int]:
    """Read the width and the height that an option has, as 3840x2160.

    Raises:
        UsageError: they are no numbers from 1 to ``MOST_SIDE_PX``.
    """
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) != 2 or not all(
        side.strip().isdecimal() and 0 < int(side) <= MOST_SIDE_PX for side in sides
    ):
        raise UsageError(f"{option} is '{text}': write width and height in pixels, such as 3840x2160")
    return int(sides[0]), int(sides[1])
