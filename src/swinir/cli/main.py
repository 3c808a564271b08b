"""The command ``swinir``: where arguments meet the rooms, and errors become one sentence and an exit status.

Exit status: 0 all done; 1 something failed, each failure named; 2 wrong usage. An error that is none of ours is a
fault of the program: its traceback is shown, and the status is 1.
"""

import errno
import io
import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from swinir import __version__
from swinir.cli.commands import COMMANDS, add_commands
from swinir.cli.console import err
from swinir.cli.interrupts import interrupts_kept
from swinir.cores import share_cores
from swinir.errors import RecipeError, SwinIRError, UnknownModelError, UsageError

# Errors of what was typed rather than of what was found.
USAGE_ERRORS = (UsageError, UnknownModelError, RecipeError)
# Where a shell that completes a line puts it.
COMPLETED_LINE = "_TYPER_COMPLETE_ARGS"


def build_app(words: list[str]) -> typer.Typer:
    """Build the command line for a line of ``words``."""
    app = typer.Typer(
        name="swinir",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Enlarge and clean up images with SwinIR. The models are inside: nothing is downloaded.",
    )
    app.callback()(take_options)
    add_commands(app, COMMANDS, words)
    return app


def take_options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda is_wanted: _show_version() if is_wanted else None,
            is_eager=True,
            help="Show the version and stop.",
        ),
    ] = False,
) -> None:
    """Take the options before the command; ``main`` reads --debug from anywhere on the line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Taken from anywhere on the line, for those who add it after the command that failed.
    is_debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Names of files, and terminals that show little.
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(
        level=logging.DEBUG if is_debug else logging.WARNING, format="%(message)s", stream=sys.stderr
    )
    # Its warnings tell of damage before the error does that names the file.
    logging.getLogger("pyvips").setLevel(logging.WARNING if is_debug else logging.ERROR)
    logging.getLogger("swinir").setLevel(logging.DEBUG if is_debug else logging.INFO)
    share_cores()
    try:
        app = build_app([*words, *os.environ.get(COMPLETED_LINE, "").split()])
        with interrupts_kept():
            app(words, prog_name="swinir")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except SwinIRError as error:
        if is_debug:
            raise
        err.print(f"swinir: {error}", markup=False, style="red")
        return 2 if isinstance(error, USAGE_ERRORS) else 1
    except OSError as error:
        if is_debug or error.errno != errno.ENOSPC:
            raise
        from swinir.cli.piping import drop_standard_output

        # What is printed may be what has no space.
        drop_standard_output()
        place = "standard output, or a file," if error.filename is None else error.filename
        err.print(f"swinir: {place} cannot be written ({error.strerror})", markup=False, style="red")
        return 1
    return 0


def _show_version() -> None:
    typer.echo(f"swinir {__version__}")
    raise typer.Exit


if __name__ == "__main__":
    sys.exit(main())
