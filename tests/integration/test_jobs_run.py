"""Many files through Restorers: in order on one, read ahead and written behind it, or on several at once."""

import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from swinir import imaging
from swinir.engine import FileRestoration, memory
from swinir.errors import ImageReadError, RestoreError
from swinir.imaging import Image
from swinir.jobs import Job, JobPlan, JobResult, Outcome, pipeline, plan_jobs, restore_files

TIMEOUT_S = 30
GIB = 2**30


@dataclass
class Doubler:
    """Stands for a Restorer: repeats pixels, after what ``meanwhile`` does."""

    meanwhile: Callable[[Image], None] = lambda _: None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    settings: str = "twice ×2"

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        return 2 * height, 2 * width

    def __call__(self, image: Image, progress: Any = None) -> Image:
        progress = progress or (lambda *_: None)
        progress(0, 2)
        self.meanwhile(image)
        progress(1, 2)
        restored = image.with_pixels(image.pixels.repeat(2, axis=0).repeat(2, axis=1), None)
        progress(2, 2)
        return restored


def beside_gpu(meanwhile: Callable[[Image], None] = lambda _: None) -> Any:
    return Doubler(meanwhile, device=torch.device("cuda"))


def number_of(image: Image) -> int:
    """Tell which of ``scans`` an image is."""
    return image.height - 10


@pytest.fixture(autouse=True)
def enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda _: 64 * GIB)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Offer six images, of 10, 11, ... rows, and a damaged one among them."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (10 + number, 7, 3), dtype=np.uint8)
        imaging.write(Image(pixels=pixels), folder / f"{number}.png")
    (folder / "2x.png").write_bytes(b"this is no image")
    return folder


def jobs_of(scans: Path) -> JobPlan:
    return plan_jobs([scans], output=scans.parent / "out", label="x2")


def check_outputs(scans: Path) -> None:
    """Require that every good image is there, doubled, and nothing else."""
    out = scans.parent / "out"
    assert sorted(path.name for path in out.iterdir()) == [f"{number}_x2.png" for number in range(6)]
    for number in range(6):
        given = imaging.read(scans / f"{number}.png").pixels
        assert np.array_equal(imaging.read(out / f"{number}_x2.png").pixels[::2, ::2], given)


def watch(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List what is read and written, in the order that it ends."""
    told: list[str] = []
    read, write = FileRestoration.read, imaging.write

    def watched_read(file: FileRestoration, restorer: Any) -> Any:
        image = read(file, restorer)
        told.append(f"read {file.source.stem}")
        return image

    def watched_write(image: Image, destination: Path, **given: Any) -> tuple[str, ...]:
        notes = write(image, destination, **given)
        told.append(f"write {destination.stem[0]}")
        return notes

    monkeypatch.setattr(FileRestoration, "read", watched_read)
    monkeypatch.setattr(imaging, "write", watched_write)
    return told


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that another thread must do."""
    waited = threading.Event()
    for _ in range(100 * TIMEOUT_S):
        if is_so():
            return
        waited.wait(0.01)
    raise TimeoutError


@pytest.mark.parametrize("restorer", [Doubler(), beside_gpu()], ids=["cpu", "gpu"])
def test_one_restorer_gives_results_in_order_and_a_bad_file_stops_nothing(restorer: Any, scans: Path) -> None:
    results = list(restore_files([restorer], jobs_of(scans)))
    assert [result.job.source.stem for result in results] == ["0", "1", "2", "2x", "3", "4", "5"]
    assert [result.outcome for result in results] == 3 * [Outcome.DONE] + [Outcome.FAILED] + 3 * [
        Outcome.DONE
    ]
    assert isinstance(results[3].error, ImageReadError)
    check_outputs(scans)


def test_a_cpu_does_one_step_after_the_other(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (scans / "2x.png").unlink()
    told = watch(monkeypatch)
    restorer: Any = Doubler(lambda image: told.append(f"restore {number_of(image)}"))
    list(restore_files([restorer], jobs_of(scans)))
    assert told == [f"{step} {number}" for number in range(6) for step in ("read", "restore", "write")]


def test_beside_a_gpu_the_next_is_read_and_the_last_written_while_one_is_restored(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "2x.png").unlink()
    told = watch(monkeypatch)
    allowed: list[bool] = []

    def meanwhile(image: Image) -> None:
        number = number_of(image)
        if number < 5:
            wait_until(lambda: f"read {number + 1}" in told)
        if number > 0:
            wait_until(lambda: f"write {number - 1}" in told)
        allowed.append(f"read {number + 2}" not in told)

    list(restore_files([beside_gpu(meanwhile)], jobs_of(scans)))
    assert allowed == 6 * [True]
    check_outputs(scans)


def test_where_memory_is_short_nothing_is_read_ahead_or_written_behind(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "2x.png").unlink()
    monkeypatch.setattr(memory, "available_bytes", lambda _: 0)
    told = watch(monkeypatch)
    restorer = beside_gpu(lambda image: told.append(f"restore {number_of(image)}"))
    list(restore_files([restorer], jobs_of(scans)))
    assert told == [f"{step} {number}" for number in range(6) for step in ("read", "restore", "write")]


def test_a_large_result_waits_for_the_one_before_it_to_be_written(
    scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "2x.png").unlink()
    limits = imaging.Limits(max_pixels=200)
    # For any input, but not for a result of 10 rows or more: 7 · 3 · 5 · 4 bytes each.
    monkeypatch.setattr(memory, "available_bytes", lambda _: 4000 / memory.FREE_MEMORY_FRACTION)
    told = watch(monkeypatch)
    restorer = beside_gpu(lambda image: told.append(f"restore {number_of(image)}"))
    list(restore_files([restorer], jobs_of(scans), limits=limits))
    for number in range(5):
        assert told.index(f"write {number}") < told.index(f"restore {number + 1}")


def test_outputs_that_are_there_are_skipped_beside_a_gpu_too(scans: Path) -> None:
    first = next(restore_files([beside_gpu()], jobs_of(scans)))
    assert first.outcome is Outcome.DONE
    results = list(restore_files([beside_gpu()], jobs_of(scans)))
    assert results[0].outcome is Outcome.SKIPPED
    check_outputs(scans)


def test_image_that_cannot_be_written_fails_alone(scans: Path) -> None:
    jobs = jobs_of(scans)
    blocked = scans.parent / "out" / "3_x2.png"
    blocked.mkdir(parents=True)
    results = list(restore_files([beside_gpu()], jobs, overwrite=True))
    failed = [result.job.source.stem for result in results if result.outcome is Outcome.FAILED]
    assert failed == ["2x", "3"]


def test_several_restorers_work_at_the_same_time_and_do_each_job_once(scans: Path) -> None:
    together = threading.Barrier(3)
    team: list[Any] = [Doubler(lambda _: void(together.wait(TIMEOUT_S))) for _ in range(3)]
    results = list(restore_files(team, jobs_of(scans)))
    assert sorted(result.job.source.stem for result in results) == ["0", "1", "2", "2x", "3", "4", "5"]
    check_outputs(scans)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_restorer_that_is_free_takes_the_next_file(scans: Path, device: str) -> None:
    results: list[JobResult] = []
    begun = threading.Event()

    def until_others_are_done(_: Image) -> None:
        begun.set()
        wait_until(lambda: len(results) == 6)

    team: Any = [
        Doubler(until_others_are_done, device=torch.device(device)),
        Doubler(lambda _: void(begun.wait(TIMEOUT_S)), device=torch.device(device)),
    ]
    for result in restore_files(team, jobs_of(scans)):
        results.append(result)
    assert len(results) == 7
    check_outputs(scans)


def test_two_files_go_to_two_restorers(scans: Path) -> None:
    together = threading.Barrier(2)
    team = [beside_gpu(lambda _: void(together.wait(TIMEOUT_S))) for _ in range(2)]
    results = list(restore_files(team, plan_jobs([scans / "0.png", scans / "1.png"], label="x2")))
    assert [result.outcome for result in results] == 2 * [Outcome.DONE]


def test_restoration_that_fails_stops_nothing(scans: Path) -> None:
    def fail(image: Image) -> None:
        if number_of(image) == 4:
            raise RestoreError("there is not enough memory for this image")

    results = {
        result.job.source.stem: result for result in restore_files([beside_gpu(fail)] * 2, jobs_of(scans))
    }
    assert {name for name, result in results.items() if result.outcome is Outcome.FAILED} == {"2x", "4"}


@pytest.mark.parametrize("num_restorers", [1, 2])
def test_an_error_that_nobody_expects_ends_the_run_and_is_raised(scans: Path, num_restorers: int) -> None:
    def break_down(image: Image) -> None:
        if number_of(image) == 1:
            raise ZeroDivisionError

    # Those of tests before may end meanwhile.
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError):
        list(restore_files([beside_gpu(break_down)] * num_restorers, jobs_of(scans)))
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("num_restorers", [1, 3])
def test_ctrl_c_stops_all_and_leaves_whole_files_only(
    scans: Path, monkeypatch: pytest.MonkeyPatch, num_restorers: int
) -> None:
    stopped = threading.Event()
    stop = pipeline._JobQueue.stop
    monkeypatch.setattr(pipeline._JobQueue, "stop", lambda line: (stop(line), stopped.set()))

    def interrupt(image: Image) -> None:
        if number_of(image) == 3:
            os.kill(os.getpid(), signal.SIGINT)
            # Where this is the main thread, it ends here.
            wait_until(stopped.is_set)

    # Who runs the tests in the background may have told them to ignore it.
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = set(threading.enumerate())
    try:
        with pytest.raises(KeyboardInterrupt):
            list(restore_files([beside_gpu(interrupt)] * num_restorers, jobs_of(scans)))
    finally:
        signal.signal(signal.SIGINT, heard)
    assert set(threading.enumerate()) <= before
    written = {path.name for path in (scans.parent / "out").iterdir()}
    assert written <= {f"{number}_x2.png" for number in (0, 1, 2, 4, 5)}
    list(restore_files([beside_gpu()], jobs_of(scans)))
    check_outputs(scans)


def test_who_stops_asking_stops_all(scans: Path) -> None:
    before = set(threading.enumerate())
    results = restore_files([beside_gpu()] * 2, jobs_of(scans))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before


def test_each_image_has_its_own_progress_on_several_too(scans: Path) -> None:
    told: dict[str, list[int]] = {}

    def progress_of(job: Job) -> Callable[[int, int], None]:
        return lambda done, _total: told.setdefault(job.source.stem, []).append(done)

    list(restore_files([beside_gpu()] * 2, jobs_of(scans), progress_of=progress_of))
    assert told == {str(number): [0, 1, 2] for number in range(6)}


def test_no_restorer_is_an_error(scans: Path) -> None:
    with pytest.raises(ValueError, match="at least one"):
        restore_files([], jobs_of(scans))


def void(_: object) -> None:
    """Return nothing."""
