"""Runs that are ended from outside: asked to, killed at any moment, or on a disk that is full."""

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from runs import CPU, TINY_VARIANTS, differing, entries, recipe_in, run_in, state_of
from swinir.errors import SwinIRError, TrainingError
from swinir.training import preparation, state, trainer
from swinir.training import recipe as recipes
from swinir.weights import load_checkpoint

TIMEOUT_S = 120
EVERY_STEP = ("run.log_every=1", "run.save_every=1", "data.validation={}")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute as the other processes do, to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wait_until(is_so: Callable[[], bool], is_alive: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_so():
        assert is_alive(), "the run ended early"
        assert time.monotonic() - began < TIMEOUT_S
        time.sleep(0.002)


def num_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for_a_line_more(log: Path, num_before: int, process) -> None:
    """Wait until a run has logged a step, or is over."""
    wait_until(lambda: num_lines(log) > num_before or not process.is_alive(), lambda: True)


@pytest.fixture(scope="module")
def forking() -> multiprocessing.context.ForkServerContext:
    """Offer processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["runs", "swinir.training", "torch.utils.tensorboard", "torch._dynamo"])
    return context


def in_another_process(place: Path, *changes: str, resume: bool, sabotage: Callable[[], None] | None = None):
    """Train as a process of its own; one sentence of error is its exit status 1, as of the command."""
    torch.set_num_threads(1)
    recipes.VARIANTS = TINY_VARIANTS
    if sabotage is not None:
        sabotage()
    try:
        run_in(place, *changes, resume=resume)
    except SwinIRError as error:
        allow_files_of_any_size()
        (place / "error.txt").write_text(str(error))
        sys.exit(1)


def begun(forking, place: Path, *changes: str, resume: bool = False, sabotage=None):
    process = forking.Process(
        target=in_another_process, args=(place, *changes), kwargs={"resume": resume, "sabotage": sabotage}
    )
    process.start()
    return process


def test_sigterm_saves_and_ends_with_status_0_and_the_run_goes_on_to_the_bit(place, one_thread, monkeypatch):
    monkeypatch.undo()
    changes = [
        "model.variant=lightweight-x2",
        "data.batch_size=1",
        "data.validation={}",
        "optimizer.steps=100000",
        "optimizer.decay=milestones",
        "optimizer.milestones=[100000]",
        "run.log_every=1",
        "run.save_every=100000",
    ]
    command = [sys.executable, "-m", "swinir", "train", str(place / "recipe.toml"), *changes]
    process = subprocess.Popen([*command, "--threads", "1", "--device", "cpu"], stderr=subprocess.PIPE)
    folder = place / "run"
    wait_until(lambda: num_lines(folder / "log.jsonl") >= 2, lambda: process.poll() is None)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0

    step = int(state_of(folder)["/step"])
    assert f"stopped by SIGTERM after step {step}: continue with --resume" in told.decode()
    assert entries(folder)[-1]["step"] == step
    load_checkpoint(folder / "last.safetensors")
    last = f"optimizer.steps={step + 2}"
    run_in(place, *changes, last, resume=True)
    run_in(place, *changes, last, f"run.folder={place}/whole")
    assert differing(state_of(folder), state_of(place / "whole")) == []


def test_a_run_that_is_killed_again_and_again_ends_as_if_it_never_had_been(place, one_thread, forking):
    folder, chance = place / "run", random.Random(0)
    steps, seen = "optimizer.steps=40", 0
    for _ in range(5):
        state_file = folder / "state.pt"
        logged = num_lines(folder / "log.jsonl")
        process = begun(forking, place, *EVERY_STEP, steps, resume=state_file.exists())
        if chance.random() < 0.8:
            wait_for_a_line_more(folder / "log.jsonl", logged, process)
        time.sleep(chance.uniform(0, 0.03))
        process.kill()
        process.join()
        if state_file.exists():
            load_checkpoint(folder / "last.safetensors")
            step = loaded_step(place)
            assert step >= seen
            seen = step
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert seen > 0
    run_in(place, *EVERY_STEP, steps, resume=True)
    run_in(place, *EVERY_STEP, steps, f"run.folder={place}/whole")
    assert differing(state_of(folder), state_of(place / "whole")) == []
    assert [entry["step"] for entry in entries(folder)] == list(range(1, 41))


def loaded_step(place: Path) -> int:
    """Load the state as a run does that goes on."""
    loaded = preparation.create_state(recipe_in(place), CPU)
    loaded.load(place / "run" / "state.pt")
    return loaded.step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Limited:
    """A file that takes so many bytes and then does something else."""

    def __init__(self, file: BinaryIO, left: int, at_the_end: Callable[[], None]) -> None:
        self.file, self.left, self.at_the_end = file, left, at_the_end

    def write(self, data: memoryview) -> int:
        taken = data[: max(self.left, 0)]
        self.file.write(taken)
        self.file.flush()
        self.left -= len(taken)
        if len(taken) < len(data):
            self.at_the_end()
        return len(data)


def limited_states(number: int, size: int, at_the_end: Callable[[], None]):
    """Return a way of writing files of which that many-th takes only ``size`` bytes."""
    real, written = state.written_beside, []

    @contextmanager
    def written_beside(path, failure):
        written.append(path)
        with real(path, failure) as file:
            yield Limited(file, size, at_the_end) if len(written) == number else file

    return written_beside


def die_while_writing_the_state() -> None:
    state.written_beside = limited_states(3, 5_000, die)


def die_before_the_state_takes_its_name() -> None:
    real, renamed = Path.replace, []

    def replace(path, target):
        renamed.append(Path(target).name)
        if renamed.count("state.pt") == 3:
            die()
        return real(path, target)

    Path.replace = replace


def die_between_weights_and_state() -> None:
    real, saved = trainer.save_average, []

    def save_average(*inputs):
        real(*inputs)
        saved.append(1)
        if len(saved) == 3:
            die()

    trainer.save_average = save_average


MOMENTS = [die_while_writing_the_state, die_before_the_state_takes_its_name, die_between_weights_and_state]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_run_that_is_killed_while_saving_keeps_the_state_before(place, forking, moment):
    process = begun(forking, place, *EVERY_STEP, sabotage=moment)
    process.join(TIMEOUT_S)
    assert process.exitcode == -signal.SIGKILL
    assert loaded_step(place) == 2
    load_checkpoint(place / "run" / "last.safetensors")


def refuse() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("size", [0, 5_000, 100_000])
def test_a_disk_that_is_full_while_the_state_is_saved_is_told_and_keeps_the_last(place, monkeypatch, size):
    with monkeypatch.context() as patch:
        patch.setattr(state, "written_beside", limited_states(2, size, refuse))
        with pytest.raises(TrainingError, match=r"state\.pt cannot be written \(No space left on device\)"):
            run_in(place)
    assert [path.name for path in (place / "run").glob(".*")] == []
    assert state_of(place / "run")["/step"] == 5
    run_in(place, resume=True)
    assert state_of(place / "run")["/step"] == 10


def allow_files_of(size: int) -> None:
    """Have the system itself refuse larger files, as a full disk does."""
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def allow_files_of_any_size() -> None:
    import resource

    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


def allow_no_state() -> None:
    # Larger than the averaged weights, smaller than the state.
    allow_files_of(60_000)


def allow_no_weights() -> None:
    allow_files_of(15_000)


def allow_no_log() -> None:
    allow_files_of(100)


LIMITS = {"state.pt": allow_no_state, "last.safetensors": allow_no_weights, "log.jsonl": allow_no_log}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit of the system on files")
@pytest.mark.parametrize("name", LIMITS)
def test_a_file_that_the_system_does_not_take_is_named_in_one_sentence(place, forking, name):
    process = begun(forking, place, *EVERY_STEP, sabotage=LIMITS[name])
    process.join(TIMEOUT_S)
    assert process.exitcode == 1
    told = (place / "error.txt").read_text()
    assert f"{name} cannot be written (File too large)" in told
    assert not (place / "run" / "state.pt").exists()
