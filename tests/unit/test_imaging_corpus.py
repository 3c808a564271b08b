"""A few hundred files: valid ones come in as they are, damaged and hostile ones are refused in time and memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corpus import Case, broken_files, valid_files
from swinir.errors import ImageError
from swinir.imaging import read

# Of reading one hostile file, in seconds of a processor.
MAX_SECONDS, MAX_BYTES = 2, 300 * 2**20

READ_HOSTILE = """
import json, resource, sys, time
from corpus import hostile_files
from swinir.errors import ImageError
from swinir.imaging import ImageReader, read, read_frames
read(b"P5 1 1 255 0")
files = list(hostile_files())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
told = {}
path = sys.argv[1]
ways = {
    "read": lambda: read(path),
    "frames": lambda: list(read_frames(path)),
    "rows": lambda: ImageReader(path),
    "salvage": lambda: read(path, salvage=True),
}
for name, data in files:
    open(path, "wb").write(data)
    for way, run in ways.items():
        begun = time.process_time()
        try:
            run()
            outcome = "read"
        except ImageError as error:
            outcome = f"{type(error).__name__}: {error}"
        told[f"{name} by {way}"] = [outcome, time.process_time() - begun]
grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps([told, grown]))
"""


def difference(case: Case, path: Path) -> list[str]:
    """In what a file that was read differs from what is known of it."""
    path.write_bytes(case.data)
    image = read(path)
    seen = {
        "channels": image.channels,
        "depth": image.depth,
        "has_alpha": image.alpha is not None,
        "size": (image.height, image.width),
        "has_profile": image.profile is not None,
    }
    wrong = [f"{case.name}: {key} {value}" for key, value in seen.items() if value != getattr(case, key)]
    if case.corner is not None and np.abs(image.pixels[0, 0] / image.white - case.corner).max() > 0.06:
        wrong.append(f"{case.name}: corner {image.pixels[0, 0] / image.white}")
    return wrong


def test_every_valid_file_comes_in_with_its_mode_depth_orientation_and_profile(tmp_path: Path):
    cases = list(valid_files())
    assert len(cases) > 200
    assert [wrong for case in cases for wrong in difference(case, tmp_path / case.name)] == []


def test_every_damaged_file_is_refused_in_one_line(tmp_path: Path):
    for name, data in broken_files():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


def test_every_hostile_file_is_refused_in_time_and_memory(tmp_path: Path):
    command = [sys.executable, "-c", READ_HOSTILE, str(tmp_path / "hostile")]
    folder = Path(__file__).resolve().parents[1]
    paths = [str(folder), str(folder.parent / "src")]
    run = subprocess.run(
        command, env={"PYTHONPATH": ":".join(paths)}, capture_output=True, text=True, check=True, timeout=300
    )
    told, grown_bytes = json.loads(run.stdout)
    assert len(told) > 4 * 25
    assert [name for name, (outcome, _) in told.items() if outcome == "read"] == []
    assert [(name, seconds) for name, (_, seconds) in told.items() if seconds > MAX_SECONDS] == []
    assert grown_bytes < MAX_BYTES
    named = [name for name, (outcome, _) in told.items() if "raise the limit" in outcome and "--" in outcome]
    assert len(named) > 4 * 18
