"""``swinir bench``: how fast a model is here, and other methods beside it in the same rounds."""

import json
import re
from math import inf
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from swinir.bench import (
    BASELINES,
    Comparison,
    Row,
    Workload,
    check_names,
    compare,
    find_network,
    prepare,
)
from swinir.bench.comparison import oom_as_restore_error
from swinir.bench.workload import draw_image
from swinir.cli import choices
from swinir.cli.console import err, out, progress_bar
from swinir.cli.report_files import check_places, write_text
from swinir.engine import Restorer, choose_device
from swinir.errors import UsageError
from swinir.options import Precision

HEADINGS = (
    "method",
    "precision",
    "s p20",
    "p50",
    "p80",
    "GFLOP/s",
    "of GEMM",
    "peak MB",
    "× ours",
    "PSNR to fp32",
)
# A GPU's times want more digits.
MOST_IN_MICROSECONDS_S = 0.1


def bench(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="A model's name, a weights file, or a variant such as classical-x4 with random weights.",
        ),
    ] = "lightweight-x4",
    size: Annotated[str, typer.Option(metavar="HxW", help="Of the random image, in pixels.")] = "256x256",
    batch: Annotated[int, typer.Option(min=1, help="Images that are restored at once.")] = 1,
    device: choices.Device = "auto",
    precision: choices.PrecisionOption = Precision.AUTO,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads, for every method.", show_default="one per core")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each method is timed.")] = 5,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=f"Methods to compare with: {', '.join(BASELINES)}.",
            show_default="none",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE.jsonl", help="Append the JSON document to this file."),
    ] = None,
) -> None:
    """Measure how fast a model restores, and compare.

    Each method is timed once in each round, so that all meet the same machine, and every output is checked against
    plain PyTorch in fp32. "of GEMM" is the rate over that of PyTorch's matrix product in the same rounds, of 2048³
    on a CPU and of 8192³ on a GPU, where events measure the time. The last line is one JSON document. Other
    runtimes, on the CPU, come with the extra `export`. A method that fails, as for want of memory, is named, and
    the rest goes on.

    Example: `swinir bench --size 256x256 --against original,onnxruntime,openvino`.
    """
    check_places(output)
    names = names_of(against)
    chosen_device = choose_device(device)
    check_names(names, chosen_device)
    image_size = size_of(size)
    if threads is not None:
        torch.set_num_threads(threads)
    config, state_dict, name, weights = find_network(model)
    restorer = Restorer(config, state_dict, name=name, device=chosen_device, precision=precision)
    generator = torch.Generator().manual_seed(0)
    image = draw_image(config.in_channels, image_size, generator, batch=batch).to(chosen_device)
    workload = Workload(
        restorer=restorer, state_dict=state_dict, image=image, threads=torch.get_num_threads()
    )
    builders = {chosen: BASELINES[chosen] for chosen in names}
    with oom_as_restore_error(workload):
        prepared = prepare(
            workload, builders, notice=lambda method: err.print(f"preparing {method}", markup=False)
        )
        with progress_bar("rounds") as bar:
            report = compare(workload, prepared, weights=weights, rounds=rounds, progress=bar)
    out.print(table(report))
    out.print(f"swinir is {report.backend}: {report.reason}", markup=False)
    for failed, why in report.failed.items():
        err.print(f"swinir: {failed} failed and is left out: {why}", style="yellow", markup=False)
    document = report.to_dict()
    if output is not None:
        write_text(output, json.dumps(document) + "\n", appends=True)
    # Not through rich, which would fold a long line.
    typer.echo(json.dumps(document))
    wrong = [row.method for row in report.rows if not row.agrees]
    if wrong:
        err.print(f"swinir: {', '.join(wrong)} restored something else than plain PyTorch does", style="red")
    if wrong or report.failed:
        raise typer.Exit(1)


def names_of(against: str | None) -> list[str]:
    """Read --against: names with commas between."""
    return [] if against is None else [name.strip() for name in against.split(",")]


def size_of(text: str) -> tuple[int, int]:
    """Read --size: height, x, width."""
    found = re.fullmatch(r"([1-9]\d{0,4})[x×]([1-9]\d{0,4})", text)
    if found is None:
        raise UsageError(
            f"--size is '{text}': write height x width in pixels, each from 1 to 99999, such as 256x256"
        )
    return int(found[1]), int(found[2])


def table(report: Comparison) -> Table:
    """Lay out what was measured, one row for each method."""
    height, width = report.size
    limits = ", ".join(f"{rate:.0f} in {name}" for name, rate in report.gemm_gflop_per_s.items())
    batch = "" if report.batch == 1 else f"{report.batch} times "
    title = (
        f"{report.model} ({report.weights}) on {batch}{height}×{width}, {_place(report)}; "
        f"matrix products reach {limits} GFLOP/s"
    )
    grid = Table(title=title, title_justify="left", box=None)
    for heading in HEADINGS:
        grid.add_column(heading, justify="left" if heading == HEADINGS[0] else "right", no_wrap=True)
    for row in report.rows:
        grid.add_row(*cells(row))
    return grid


def _place(report: Comparison) -> str:
    if report.device == "cpu":
        return f"threads: {report.threads}"
    return str(report.provenance.get("gpu", report.device))


def cells(row: Row) -> tuple[str, ...]:
    """Write one row."""
    if row.difference is None:
        psnr = "other network"
    elif row.difference.psnr_db == inf:
        psnr = "equal"
    else:
        psnr = f"{row.difference.psnr_db:.1f} dB" + ("" if row.agrees else " WRONG")
    return (
        row.method,
        row.precision,
        *(_seconds(value) for value in row.quantiles),
        f"{row.gflop_per_s:.0f}",
        f"{100 * row.fraction_of_gemm_peak:.0f} %",
        "-" if row.peak_bytes is None else f"{row.peak_bytes / 1e6:.0f}",
        f"{row.times_ours:.2f}",
        psnr,
    )


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value >= MOST_IN_MICROSECONDS_S else f"{value:.6f}"
