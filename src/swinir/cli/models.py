"""``swinir models``: which there are, what a file holds, downloads and conversion."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.table import Table

from swinir.cli import choices
from swinir.cli.choices import StoredPrecision
from swinir.cli.console import out, progress_bar
from swinir.errors import CheckpointError, UsageError
from swinir.weights import (
    Model,
    Origin,
    catalog,
    download_model,
    open_checkpoint,
    save_checkpoint,
    write_official,
)
from swinir.weights.card import write_card
from swinir.weights.download import MIRROR_VARIABLE
from swinir.weights.hub import push_model


class Layout(StrEnum):
    """Kinds of weights files that can be written."""

    SWINIR = "swinir"
    OFFICIAL = "official"


LAYOUT_OF_SUFFIX = {".safetensors": Layout.SWINIR, ".pth": Layout.OFFICIAL, ".pt": Layout.OFFICIAL}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}


def list_models() -> None:
    """List every model that has a name: those in the package, and the published ones."""
    grid = Table(box=None)
    for heading in ("name", "task", "scale", "strength", "size", "state"):
        grid.add_column(
            heading, justify="right" if heading in {"scale", "strength", "size"} else "left", no_wrap=True
        )
    for model in catalog.all_models().values():
        size = "" if model.size_bytes is None else f"{model.size_bytes / 1e6:.1f} MB"
        strength = "" if model.strength is None else str(model.strength)
        grid.add_row(model.name, model.task.value, f"×{model.scale}", strength, size, state_of(model))
    out.print(grid)


def state_of(model: Model) -> str:
    """Say whether a model can be used now."""
    if model.origin is Origin.BUNDLED:
        return "in the package"
    return "downloaded" if catalog.is_available(model) else "to download"


def download(
    names: Annotated[list[str], typer.Argument(help="Names from `swinir models list`.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Where to keep them.", show_default="the cache, where models are found by name"
        ),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            help="Another place to fetch them from: a folder's address, or one with {url} or {file} in it.",
            envvar=MIRROR_VARIABLE,
        ),
    ] = None,
) -> None:
    """Fetch published models; each is checked, and appears whole or not at all.

    A download that was cut off goes on where it stopped. Proxies are those of the environment (HTTPS_PROXY).
    """
    for name in names:
        model = catalog.find_model(name)
        if model.origin is Origin.BUNDLED:
            out.print(f"{name} is in the package already", markup=False)
            continue
        with progress_bar(name) as bar:
            path = download_model(
                model,
                folder=folder,
                mirror=mirror,
                progress=lambda received, total, bar=bar: (
                    bar(received, total) if bar is not None and total else None
                ),
            )
        out.print(f"{name} -> {path}", markup=False)


def convert(
    source: Annotated[str, typer.Argument(help="A model's name or a weights file.")],
    destination: Annotated[Path, typer.Argument(help="The file to write.")],
    to: Annotated[
        Layout | None,
        typer.Option(
            help="swinir (safetensors) or official (.pth).", show_default="by the destination's suffix"
        ),
    ] = None,
    precision: Annotated[StoredPrecision, typer.Option(help="Of a safetensors file.")] = "fp32",
    image_range: choices.ImageRange = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Convert between published .pth files and this project's safetensors."""
    suffix = destination.suffix.lower()
    if to is None and suffix not in LAYOUT_OF_SUFFIX:
        raise UsageError(
            f"{destination} is no weights file: write .safetensors or .pth, name --to, or use `swinir export`"
        )
    layout = to or LAYOUT_OF_SUFFIX[suffix]
    if destination.exists() and not overwrite:
        raise CheckpointError(f"{destination} exists: choose another name, or add --overwrite")
    file, checkpoint = open_checkpoint(source, image_range=image_range)
    config = checkpoint.config
    if layout is Layout.OFFICIAL:
        write_official(
            destination, config, checkpoint.state_dict, training_size_px=checkpoint.training_size_px
        )
    else:
        save_checkpoint(
            destination, config, checkpoint.state_dict, dtype=DTYPES[precision], metadata=checkpoint.metadata
        )
    out.print(f"{file.path} -> {destination}", markup=False)


def push(
    source: Annotated[str, typer.Argument(help="A model's name or a weights file.")],
    repo: Annotated[str, typer.Argument(help="Where to put it on the Hugging Face Hub: owner/name.")],
    card: Annotated[
        Path | None,
        typer.Option(
            help="Markdown for people to read on the card.",
            show_default="the .md beside the weights, or what is known of the model",
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Of the weights, such as apache-2.0.", show_default="as the file says")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Of a new repository: shown to you alone.")
    ] = False,
    branch: Annotated[str | None, typer.Option(help="Where to commit.", show_default="main")] = None,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Upload a SwinIR",
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Replace a card that is there already.")
    ] = False,
) -> None:
    """Share a model on the Hugging Face Hub: weights, config.json and a card, in one commit.

    Others then use it as hf:owner/name. Log in first (`hf auth login`), or set HF_TOKEN.
    """
    file, checkpoint = open_checkpoint(source)
    model = catalog.describe_file(file, checkpoint)
    beside = file.path.with_suffix(".md")
    page = card or (beside if beside.is_file() else None)
    text = write_card(
        checkpoint,
        name=model.name,
        repo=repo,
        task=model.task,
        licence=licence or model.licence,
        figures=model.figures,
        text="" if page is None else page.read_text(encoding="utf-8"),
    )
    url = push_model(
        checkpoint,
        file.path,
        repo,
        card=text,
        is_private=private,
        branch=branch,
        message=message,
        replaces_card=replace_card,
    )
    out.print(f"{file.name} -> {url}", markup=False)
