"""Two processes of torchrun train as one does: the same losses and weights, one log, and an end all agree on."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from runs import (
    TINY_VARIANTS,
    VARIANTS_OF_RECIPES,
    entries,
    furnish,
    losses,
    run_in,
    state_of,
)

REPOSITORY = Path(__file__).resolve().parents[2]

SHORT = (
    "optimizer.steps=6",
    "run.log_every=1",
    "run.save_every=3",
    "data.batch_size=8",
    "run.evaluate_every=3",
)
CLEAN = ("model.variant=tiny-clean", "data.validation={}")
RUNS = {
    "bicubic": (*SHORT, "optimizer.accumulate=2", "model.drop_path=0.3", "optimizer.kind=muon"),
    "noise": (*SHORT, *CLEAN, "degradation.kind=noise", "degradation.sigma=[0, 50]"),
    "jpeg": (*SHORT, *CLEAN, "degradation.kind=jpeg", "degradation.quality=[10, 50]"),
    "gan": (*SHORT, "loss.gan_weight=0.1", "optimizer.steps=3", "data.validation={}", "data.batch_size=4"),
}
INDIVISIBLE = {
    "odd": ("data.batch_size=5", "data.validation={}"),
    "odd-parts": ("data.batch_size=4", "optimizer.accumulate=4", "data.validation={}"),
}
ENDLESS = (
    "optimizer.steps=100000",
    "optimizer.decay=milestones",
    "optimizer.milestones=[100000]",
    "run.log_every=1",
)

TIMEOUT_S = 240


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def torchrun(place: Path, names: list[str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-port", str(free_port()), str(REPOSITORY / "tests" / "runs.py"), str(place), *names]
    with (place / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=output, stderr=subprocess.STDOUT
        )


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    began = time.monotonic()
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        output = path.parents[1] / "output.txt"
        assert process.poll() is None, output.read_text()
        assert time.monotonic() - began < TIMEOUT_S, output.read_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Do every run in two processes, the last until SIGTERM, and meanwhile the same runs in this one."""
    place = furnish(tmp_path_factory.mktemp("distributed"))
    for name, changes in {**RUNS, **INDIVISIBLE, "endless": ENDLESS}.items():
        lines = (*changes, f"run.folder={place}/{name}/two")
        (place / f"{name}.changes").write_text("\n".join(lines))
    process = torchrun(place, [*RUNS, *INDIVISIBLE, "endless"])
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(VARIANTS_OF_RECIPES, TINY_VARIANTS)
            for name, changes in RUNS.items():
                run_in(place, *changes, f"run.folder={place}/{name}/one")
            wait_for_lines(place / "endless" / "two" / "log.jsonl", 3, process)
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_S)
            yield place
    finally:
        # Not killed: its processes would go on.
        process.terminate()
        process.wait(TIMEOUT_S)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_make_the_losses_of_one(place, name):
    one, two = losses(place / name / "one"), losses(place / name / "two")
    assert len(two) == len(one) > 0
    assert two == pytest.approx(one, rel=1e-4 if "optimizer.kind=muon" in RUNS[name] else 1e-6)


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_make_the_weights_of_one(place, name):
    one, two = state_of(place / name / "one"), state_of(place / name / "two")
    assert one.keys() == two.keys()
    for part in {key.split("/")[1] for key in one} & {"model", "ema", "discriminator"}:
        mine, others = (
            torch.cat([value.flatten() for key, value in state.items() if key.startswith(f"/{part}/")])
            for state in (one, two)
        )
        # Muon turns the rounding of the smallest gradients into steps of full size.
        # Sums in other orders are rounded otherwise, which Adam and more so Muon and a second network amplify.
        tolerance = 1e-4 if name == "gan" or "optimizer.kind=muon" in RUNS[name] else 1e-6
        assert (mine - others).norm() < tolerance * mine.norm()


def test_two_processes_measure_the_same_psnr_as_one(place):
    one, two = (
        [entry["psnr_db/Val"] for entry in entries(place / "bicubic" / name) if "psnr_db/Val" in entry]
        for name in ("one", "two")
    )
    assert len(two) == 2
    assert two == pytest.approx(one, abs=1e-3)


def test_one_process_writes_the_log(place):
    folder = place / "bicubic" / "two"
    steps = [entry["step"] for entry in entries(folder) if "loss" in entry]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert len(list(folder.glob("events*"))) <= 1
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("events")) == [
        "best.safetensors",
        "last.safetensors",
        "log.jsonl",
        "state.pt",
    ]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("odd", "batch_size 5 does not divide into 2 processes times 1 accumulated parts: .* multiple of 2"),
        (
            "odd-parts",
            "batch_size 4 does not divide into 2 processes times 4 accumulated parts: .* multiple of 8",
        ),
    ],
)
def test_a_batch_that_does_not_divide_is_told_by_every_process(place, name, told):
    for rank in (0, 1):
        assert re.search(told, (place / f"{name}.error.{rank}").read_text())
    assert not (place / name).exists()


def test_sigterm_to_torchrun_stops_both_processes_after_the_same_step_and_saves(place):
    step = int(state_of(place / "endless" / "two")["/step"])
    told = f"stopped by SIGTERM after step {step}: continue with --resume"
    assert step > 0
    assert (place / "output.txt").read_text().count(told) == 2
    assert entries(place / "endless" / "two")[-1]["step"] == step


def test_a_run_that_torchrun_stopped_goes_on(place):
    folder = place / "endless" / "two"
    step = int(state_of(folder)["/step"])
    run_in(place, *ENDLESS, f"run.folder={folder}", f"optimizer.steps={step + 2}", resume=True)
    assert [entry["step"] for entry in entries(folder) if "loss" in entry] == list(range(1, step + 3))
