"""Write the page of all commands, docs/commands.md, from their help: python docs/site/commands.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer

from swinir.cli.commands import COMMANDS, Command, Group
from swinir.cli.main import build_app

PAGE = Path(__file__).parents[1] / "commands.md"
WIDTH = 100
HEAD = """# Commands

What `swinir COMMAND --help` says. `make docs` writes this page, and a test compares it with the commands.

Exit status: 0 all done; 1 something failed, each failure named; 2 wrong usage.
"""


def write_page() -> str:
    """Return the page."""
    sections = [
        f"\n## swinir {' '.join(words)}\n\n```text\n{read_help(words)}\n```\n" for words in list_commands()
    ]
    return HEAD + "".join(sections)


def list_commands(commands: Mapping[str, Command | Group] = COMMANDS) -> Iterator[list[str]]:
    """List the words of each command, those of groups too."""
    for name, command in commands.items():
        if isinstance(command, Group):
            yield from ([name, *words] for words in list_commands(command.commands))
        else:
            yield [name]


def read_help(words: list[str]) -> str:
    """Return the help of a command, as wide on every terminal."""
    command: Any = typer.main.get_command(build_app(words))
    context = command.make_context("swinir", [*words, "--help"], resilient_parsing=True)
    for word in words:
        command = command.commands[word]
        context = type(context)(
            command, parent=context, info_name=word, terminal_width=WIDTH, max_content_width=WIDTH
        )
    return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


if __name__ == "__main__":
    PAGE.write_text(write_page(), encoding="utf-8")
