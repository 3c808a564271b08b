"""``swinir models info``: what a model is, what is known of it, and what it costs here."""

import time
from collections.abc import Mapping
from typing import Annotated

import torch
import typer

from swinir.cli import choices
from swinir.cli.console import out
from swinir.engine import Restorer
from swinir.engine.cost import measure_cost
from swinir.evaluation.tables import write_count
from swinir.model import VARIANTS, SwinIRConfig
from swinir.model.flops import count_parameters, multiply_adds
from swinir.weights import Figures, Model, Origin, catalog, open_checkpoint

# What the literature counts multiply-adds of.
COUNTED_SIZE = "1280x720"
# Side of the image that is timed, in windows: large enough for all cores, small enough for the largest network.
TIMED_WINDOWS = 8


def info(
    name_or_path: Annotated[str, typer.Argument(help="A model's name or a weights file.")],
    size: Annotated[
        str,
        typer.Option(
            "--size", metavar="WIDTHxHEIGHT", help="Of the result that work, time and memory are counted for."
        ),
    ] = COUNTED_SIZE,
    estimate: Annotated[
        bool, typer.Option(help="Time the network on a small image, and estimate time and memory here.")
    ] = True,
) -> None:
    """Show what a model is: architecture, size, work, where it comes from, figures.

    Example: `swinir models info real-x4 --size 3840x2160`.
    """
    width, height = choices.parse_size(size, "--size")
    model = catalog.all_models().get(name_or_path)
    if model is not None:
        show(describe_record(model))
        if not catalog.is_available(model):
            if model.variant is not None:
                show(describe_work(VARIANTS[model.variant], width, height, model))
            out.print(f"not downloaded yet: run `swinir models download {model.name}`", markup=False)
            return
    file, checkpoint = open_checkpoint(name_or_path)
    release = catalog.find_release(file.sha256)
    show({"file": str(file.path), "sha256": file.sha256})
    if model is None:
        show({"known release": "no" if release is None else f"{release.name}, by the paper's authors"})
    show(
        {
            key: value
            for key, value in checkpoint.metadata.items()
            if key not in {"figures", "licence", "task"}
        }
    )
    show(describe_architecture(checkpoint.config))
    show(describe_work(checkpoint.config, width, height, release or model))
    if estimate:
        show(describe_cost(Restorer(checkpoint.config, checkpoint.state_dict), width, height))


def show(facts: Mapping[str, str]) -> None:
    """Print facts one below the other."""
    for name, value in facts.items():
        out.print(f"{name + ':':<18} {value}", markup=False)


def describe_record(model: Model) -> dict[str, str]:
    """Return what the catalog knows of a model."""
    facts = {
        "name": model.name,
        "task": model.task.value,
        "origin": model.origin.value,
        "licence": model.licence or "not known",
    }
    if model.origin is not Origin.BUNDLED:
        facts |= {"url": model.url or "not known", "published sha256": model.sha256 or "not known"}
    return facts | {name: write_figures(figures) for name, figures in model.figures.items()}


def write_figures(figures: Figures) -> str:
    """Write figures as tables do: PSNR / SSIM."""
    return f"{figures.psnr_db:.2f} dB" + ("" if figures.ssim is None else f" / {figures.ssim:.4f}")


def describe_architecture(config: SwinIRConfig) -> dict[str, str]:
    """Return the configuration of a network."""
    return {name: str(value) if value != "" else "none" for name, value in config.to_dict().items()}


def describe_work(config: SwinIRConfig, width: int, height: int, model: Model | None) -> dict[str, str]:
    """Count parameters and multiply-adds, beside what the paper reports of a released model, which counts less.

    Args:
        config: the network.
        width: of the restored image, in pixels.
        height: likewise.
        model: its record, where it has one.
    """
    counted = multiply_adds(config, -(-height // config.scale), -(-width // config.scale))
    parameters = f"{count_parameters(config):,}"
    work = write_count(counted)
    if model is not None and model.parameters_told is not None:
        parameters += f" (the paper says {write_count(model.parameters_told)})"
    if model is not None and model.multiply_adds_told is not None:
        work += f" (the paper says {write_count(model.multiply_adds_told)} for {COUNTED_SIZE})"
    return {"parameters": parameters, "multiply-adds": f"{work} for a result of {width}×{height}"}


def describe_cost(restorer: Restorer, width: int, height: int) -> dict[str, str]:
    """Estimate memory and time of restoring one image here, whole.

    Time is that of a small image, enlarged by the number of multiply-adds; memory is traced on small images.
    """
    config = restorer.config
    side_px = TIMED_WINDOWS * config.window_px
    lq = torch.zeros(1, config.in_channels, side_px, side_px)
    restorer.restore_batch(lq)
    began = time.perf_counter()
    restorer.restore_batch(lq)
    seconds_each = (time.perf_counter() - began) / multiply_adds(config, side_px, side_px)
    lq_height, lq_width = -(-height // config.scale), -(-width // config.scale)
    seconds = seconds_each * multiply_adds(config, lq_height, lq_width)
    with torch.no_grad():
        cost = restorer.budget.cost or measure_cost(
            restorer.forward_pass,
            channels=config.in_channels,
            window_size=config.window_px,
            device=restorer.device,
        )
    facts = restorer.describe()
    return {
        "computes here": f"{facts['backend']} in {facts['precision']} on {facts['device']}",
        "time here": f"about {write_seconds(seconds)} for a result of {width}×{height}",
        "memory here": f"about {cost.bytes_for(lq_height * lq_width) / 1e9:.2g} GB for it whole; tiles take less",
    }


def write_seconds(seconds: float) -> str:
    """Write a time with two digits, in seconds or minutes."""
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.0f} min"
