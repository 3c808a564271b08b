"""Scripts of several parts, each measured within bounds against a pass figure."""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from swinir.provenance import read_provenance


class Part(Protocol):
    """Measures one thing; ``is_pass`` of what it returns says whether the pass figure is met."""

    def __call__(self, folder: Path, *, is_smoke: bool) -> dict[str, Any]:
        """Measure in an empty folder; a few small pictures only where ``is_smoke``."""
        ...


def measure_parts(description: str, parts: Mapping[str, Part]) -> int:
    """Measure the parts that the command line names, print a line of JSON for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("parts", nargs="+", choices=list(parts))
    parser.add_argument(
        "--smoke", action="store_true", help="a few small pictures only: whether it works at all"
    )
    arguments = parser.parse_args()
    origin = read_provenance()
    is_pass = True
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            result = parts[part](Path(folder), is_smoke=arguments.smoke)
        row = {"part": part, **result, "date": origin.date, "commit": origin.commit, "cpu": origin.cpu}
        print(json.dumps(row), flush=True)
        is_pass = is_pass and result["is_pass"]
    return 0 if is_pass else 1
