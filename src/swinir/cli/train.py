"""``swinir train``: a recipe makes weights."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from swinir.cli.console import out
from swinir.engine import choose_device
from swinir.training import estimate_run, fit, read_recipe


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE", help="A TOML file, such as recipes/lightweight_x2.toml.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Change values of the recipe: data.train=photos/ data.batch_size=16.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run exactly where it stopped.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show plan, memory and hours, measured on a few steps; begin no run."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default="one per core")
    ] = None,
) -> None:
    """Train a model by a recipe.

    The run's folder receives the state to resume from, the averaged weights (last, and best where the recipe names a
    validation set), a log and TensorBoard curves. Weights can be used at once:
    `swinir upscale photo.jpg --model runs/lightweight_x2/last.safetensors`. SIGTERM saves and ends the run; many
    GPUs share it by `torchrun --nproc-per-node=8 -m swinir train RECIPE`.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    read = read_recipe(recipe, changes or [])
    if dry_run:
        for name, value in estimate_run(read, choose_device(device)).lines():
            out.print(f"{name:12} {value}", markup=False)
        return
    weights = fit(read, resume=resume, device=choose_device(device))
    out.print(f"weights: {weights}", markup=False)
