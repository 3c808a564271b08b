"""Jobs that are killed at every step of writing, and disks that are full."""

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.imaging import Image
from swinir.jobs import JobResult, Outcome, plan_jobs, restore_files

TIMEOUT_S = 120
NAMES = ("a.png", "b.tif")
# Steps of writing that Python takes; what libvips writes by itself is cut off by size.
STEPS = [(os, "open"), (os, "fsync"), (Path, "replace"), (Path, "unlink")]


class Doubler:
    """Stands for a Restorer: repeats pixels."""

    settings = "twice ×2"
    device = torch.device("cpu")

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return 2 * height, 2 * width

    def __call__(self, image: Image, progress: Any = None) -> Image:
        return image.with_pixels(image.pixels.repeat(2, axis=0).repeat(2, axis=1), None)


def restore(folder: Path) -> list[JobResult]:
    restorer: Any = Doubler()
    return list(restore_files([restorer], plan_jobs([folder / "in"], output=folder / "out", label="x2")))


def die_at(number: int) -> None:
    """Be killed before the step of that number."""
    left = [number]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **options)

        return step

    for owner, name in STEPS:
        setattr(owner, name, dying(getattr(owner, name)))


def die_behind(num_bytes: int) -> None:
    """Be killed when a file grows beyond a size, whoever writes it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    refuse_behind(num_bytes)


def refuse_behind(num_bytes: int) -> None:
    """Have the system refuse files beyond a size, as a full disk does."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def in_another_process(folder: Path, sabotage: Callable[[int], None], number: int) -> None:
    sabotage(number)
    results = restore(folder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    errors = [str(result.error) for result in results if result.outcome is Outcome.FAILED]
    (folder / "errors.txt").write_text("\n".join(errors))


@pytest.fixture(scope="module")
def forking() -> Any:
    """Offer processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["swinir.jobs", "test_jobs_killed"])
    return context


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Offer two pictures, and what becomes of them when nothing happens."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "in").mkdir()
    for number, name in enumerate(NAMES):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        imaging.write(Image(pixels=pixels), folder / "in" / name)
    assert [result.outcome for result in restore(folder)] == [Outcome.DONE, Outcome.DONE]
    return folder


def run_sabotaged(forking: Any, folder: Path, sabotage: Callable[[int], None], number: int) -> int:
    process = forking.Process(target=in_another_process, args=(folder, sabotage, number))
    process.start()
    process.join(TIMEOUT_S)
    assert process.exitcode is not None
    return process.exitcode


def copy_inputs(whole: Path, folder: Path) -> None:
    (folder / "in").mkdir(parents=True)
    for name in NAMES:
        (folder / "in" / name).write_bytes((whole / "in" / name).read_bytes())


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def check_after_a_kill(whole: Path, folder: Path) -> None:
    """Require inputs untouched, whole results only, and all of them after one run more, finished ones kept."""
    expected = files_in(whole / "out")
    assert files_in(folder / "in") == files_in(whole / "in")
    finished = {}
    if (folder / "out").exists():
        finished = {name: data for name, data in files_in(folder / "out").items() if name in expected}
    assert finished.items() <= expected.items()
    outcomes = {result.job.destination.name: result.outcome for result in restore(folder)}
    assert {name for name, outcome in outcomes.items() if outcome is Outcome.SKIPPED} == finished.keys()
    assert files_in(folder / "out") == expected


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
def test_a_run_that_is_killed_before_any_step_of_writing_loses_nothing(
    whole: Path, tmp_path: Path, forking: Any
) -> None:
    num_killed = 0
    while True:
        folder = tmp_path / str(num_killed)
        copy_inputs(whole, folder)
        if run_sabotaged(forking, folder, die_at, num_killed + 1) == 0:
            break
        check_after_a_kill(whole, folder)
        num_killed += 1
    assert num_killed >= 8


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signals")
@pytest.mark.parametrize("num_bytes", [0, 1, 500, 1500])
def test_a_run_that_is_killed_within_a_file_loses_nothing(
    whole: Path, tmp_path: Path, forking: Any, num_bytes: int
) -> None:
    copy_inputs(whole, tmp_path)
    assert run_sabotaged(forking, tmp_path, die_behind, num_bytes) == -signal.SIGXFSZ
    check_after_a_kill(whole, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the system on files")
@pytest.mark.parametrize("num_bytes", [0, 1, 500, 1500])
def test_a_full_disk_is_one_sentence_and_leaves_no_part_of_a_file(
    whole: Path, tmp_path: Path, forking: Any, num_bytes: int
) -> None:
    copy_inputs(whole, tmp_path)
    assert run_sabotaged(forking, tmp_path, refuse_behind, num_bytes) == 0
    told = (tmp_path / "errors.txt").read_text().splitlines()
    assert len(told) == len(NAMES)
    for line, name in zip(told, NAMES, strict=True):
        assert f"{Path(name).stem}_x2" in line
        assert "cannot be written" in line
    assert list((tmp_path / "out").iterdir()) == []
