"""``swinir export``: a model as a file for other programs, proven before it is there."""

from pathlib import Path
from typing import Annotated

import typer

from swinir.cli.choices import StoredPrecision
from swinir.cli.console import err, out
from swinir.errors import ExportError
from swinir.export import Format, export_model, find_format
from swinir.options import Precision


def export(
    model: Annotated[str, typer.Argument(help="A name from `swinir models list`, or a weights file.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The file to write: .onnx, .xml (OpenVINO, with a .bin beside it) or .pt2 (torch.export).",
        ),
    ],
    precision: Annotated[
        StoredPrecision,
        typer.Option(help="Of matrix products and weights; the residual stream is float32 in both."),
    ] = "fp32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
) -> None:
    """Write a model for other programs: ONNX, OpenVINO, PyTorch without this package.

    The file takes any number of images of any size from 1×1. It is compared with PyTorch before it is there, on
    sizes that go wrong easily: a largest difference of 1e-4 is allowed in fp32, 55 dB in fp16.
    """
    kind = find_format(output, Precision(precision))
    meant = [output] + ([output.with_suffix(".bin")] if kind is Format.OPENVINO else [])
    if not overwrite and (there := [path for path in meant if path.exists()]):
        raise ExportError(f"{there[0]} exists: choose another name, or add --overwrite")
    err.print(f"writing {output}, then comparing it with PyTorch", markup=False)
    exported = export_model(model, output, precision=Precision(precision))
    for difference in exported.differences:
        out.print(f"  {difference}", markup=False)
    for path in exported.files:
        out.print(f"{model} -> {path} ({path.stat().st_size / 1e6:.1f} MB, {precision})", markup=False)
