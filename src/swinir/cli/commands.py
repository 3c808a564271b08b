"""The commands there are, and where each one lives: its module is imported when it runs, not for the list of all."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import typer


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        home: module and name of a function, as "swinir.cli.train:train". Its parameters are the options; the first
            line of its docstring is ``summary``.
        summary: the line in the list of commands.
    """

    home: str
    summary: str

    def load(self) -> Callable[..., Any]:
        """Import the function."""
        module, _, name = self.home.partition(":")
        return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class Group:
    """Commands behind a common word."""

    summary: str
    commands: Mapping[str, Command]


COMMANDS: dict[str, Command | Group] = {
    "upscale": Command(
        "swinir.cli.restore:upscale", "Enlarge images with a model that is inside the package."
    ),
    "denoise": Command(
        "swinir.cli.restore:denoise",
        "Take noise out of images, of any strength up to a standard deviation of 50 of 255.",
    ),
    "dejpeg": Command(
        "swinir.cli.restore:dejpeg",
        "Take the blocks and ringing of JPEG out of images, of any quality from 10 up.",
    ),
    "evaluate": Command("swinir.cli.evaluate:evaluate", "Measure models by the protocols of the literature."),
    "compare": Command(
        "swinir.cli.compare:compare",
        "Put pictures on one page: a slider, side by side, or their difference, zoomed and moved together.",
    ),
    "plot": Command(
        "swinir.cli.plot:plot", "Draw training curves, quality against cost beside the paper's, or speed."
    ),
    "train": Command("swinir.cli.train:train", "Train a model by a recipe."),
    "bench": Command("swinir.cli.bench:bench", "Measure how fast a model restores, and compare."),
    "export": Command(
        "swinir.cli.export:export",
        "Write a model for other programs: ONNX, OpenVINO, PyTorch without this package.",
    ),
    "serve": Command(
        "swinir.cli.serve:serve", "Restore pictures for a web page and for programs, on this machine."
    ),
    "models": Group(
        "List, inspect, download, convert and share models.",
        {
            "list": Command(
                "swinir.cli.models:list_models",
                "List every model that has a name: those in the package, and the published ones.",
            ),
            "info": Command(
                "swinir.cli.model_info:info",
                "Show what a model is: architecture, size, work, where it comes from, figures.",
            ),
            "download": Command(
                "swinir.cli.models:download",
                "Fetch published models; each is checked, and appears whole or not at all.",
            ),
            "convert": Command(
                "swinir.cli.models:convert",
                "Convert between published .pth files and this project's safetensors.",
            ),
            "push": Command(
                "swinir.cli.models:push",
                "Share a model on the Hugging Face Hub: weights, config.json and a card, in one commit.",
            ),
        },
    ),
}


def add_commands(app: typer.Typer, commands: Mapping[str, Command | Group], words: list[str]) -> None:
    """Add all commands to ``app``; those that are not among the ``words`` of the line only with their summaries."""
    for name, command in commands.items():
        if isinstance(command, Group):
            group = typer.Typer(no_args_is_help=True, help=command.summary)
            add_commands(group, command.commands, words if name in words else [])
            app.add_typer(group, name=name, short_help=command.summary)
        elif name in words:
            app.command(name, short_help=command.summary)(command.load())
        else:
            app.command(name, short_help=command.summary)(_not_loaded)


def _not_loaded() -> None:
    """Stand for a command that the line does not name."""
    raise AssertionError
