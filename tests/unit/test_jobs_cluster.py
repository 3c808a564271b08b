"""How a cluster is shared, and what is sent to it: without Ray."""

import pickle
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from giants import one_layer
from swinir import imaging
from swinir.engine import Enlarger, TargetSize
from swinir.errors import ClusterError, MissingPackageError, UsageError
from swinir.jobs import ClusterOptions, Job, JobResult, Outcome, plan_jobs, restore_files, restore_on_cluster
from swinir.jobs.cluster import Worker, builder_of, share_machines
from swinir.jobs.options import JobOptions
from swinir.options import RestorerOptions, TiffLayout

pytestmark = pytest.mark.usefixtures("one_thread")


class LostError(Exception):
    """Stands for an error of Ray: the actor has died."""


class PlayedRay:
    """Actors of this process: what goes to them and comes from them is pickled, and some calls end their actor."""

    def __init__(self, is_lost: Callable[[int], bool] = lambda _: False) -> None:
        self.exceptions = SimpleNamespace(RayActorError=LostError, OutOfMemoryError=LostError)
        self.calls: list[str] = []
        self._is_lost = is_lost

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 3.0}}, {"Alive": False, "Resources": {"CPU": 9.0}}]

    def put(self, value: Any) -> bytes:
        return pickle.dumps(value)

    def remote(self, kind: type[Worker]) -> Any:
        def start(build: bytes, options: bytes, *given: Any) -> Any:
            return self._handle(kind(pickle.loads(build), pickle.loads(options), *given))

        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=start))

    def _handle(self, worker: Worker) -> Any:
        def method(name: str) -> Any:
            def call(*given: Any, **named: Any) -> Callable[[], Any]:
                self.calls.append(name)
                number, sent = len(self.calls), pickle.dumps((given, named))

                def run() -> Any:
                    if self._is_lost(number):
                        raise LostError("killed")
                    received, options = pickle.loads(sent)
                    return pickle.loads(pickle.dumps(getattr(worker, name)(*received, **options)))

                return run

            return SimpleNamespace(remote=call)

        names = ("prepare", "restore", "restore_piece", "join_pieces")
        return SimpleNamespace(**{name: method(name) for name in names})

    def wait(self, calls: list[Any], *, num_returns: int, timeout: float | None = None) -> tuple[Any, Any]:
        del num_returns, timeout
        return calls[:1], calls[1:]

    def get(self, call: Callable[[], Any]) -> Any:
        return call()

    def kill(self, worker: Any) -> None:
        del worker


CPUS = [{"CPU": 8.0}, {"CPU": 3.0}, {"memory": 1.0}]
GPUS = [{"CPU": 16.0, "GPU": 4.0}, {"CPU": 64.0}]
OPTIONS = JobOptions()


@pytest.mark.parametrize(
    ("machines", "device", "cpus", "expected"),
    [
        (CPUS, "auto", None, "2 workers of 4 cores"),
        (CPUS, "auto", 3, "3 workers of 3 cores"),
        (CPUS, "cpu", 1, "11 workers of 1 core"),
        ([{"CPU": 2.0}], "auto", None, "1 worker of 2 cores"),
        (GPUS, "auto", None, "4 workers with a GPU each"),
        (GPUS, "cuda:all", 2, "4 workers with a GPU each"),
        (GPUS, "cpu", None, "20 workers of 4 cores"),
    ],
)
def test_workers_take_a_gpu_or_so_many_cores_of_one_machine(
    machines: list[dict[str, float]], device: str, cpus: int | None, expected: str
) -> None:
    assert str(share_machines(machines, RestorerOptions(device=device), cpus)) == expected


@pytest.mark.parametrize(
    ("machines", "device", "cpus", "told"),
    [
        (GPUS, "cuda:1", None, "one GPU of one machine"),
        (CPUS, "cuda", None, "no GPU in the cluster"),
        (CPUS, "auto", 9, "has 9 cores"),
        ([], "auto", None, "has 1 cores"),
    ],
)
def test_what_a_cluster_cannot_is_said(
    machines: list[dict[str, float]], device: str, cpus: int | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        share_machines(machines, RestorerOptions(device=device), cpus)


def test_a_worker_without_cores_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        ClusterOptions(cpus=0)


def test_without_ray_a_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    results = restore_on_cluster(one_layer(), [], RestorerOptions(), ClusterOptions())
    with pytest.raises(MissingPackageError, match=r"pip install 'swinir\[ray\]'"):
        next(results)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9"])
def test_a_cluster_that_does_not_answer_is_named_at_once(address: str) -> None:
    pytest.importorskip("ray", reason="needs Ray")
    results = restore_on_cluster(one_layer(), [], RestorerOptions(), ClusterOptions(address=address))
    with pytest.raises(ClusterError, match=f"nothing answers at {address}"):
        next(results)


def test_a_worker_restores_as_the_restorer_it_was_built_from(tmp_path: Path) -> None:
    restorer = one_layer()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    source, here, there = tmp_path / "a.png", tmp_path / "here.png", tmp_path / "there.png"
    imaging.write(imaging.Image(pixels=pixels), source)
    restorer.restore_file(source, here)
    sent = pickle.dumps((builder_of(restorer, RestorerOptions(device="cpu", precision="fp32")), OPTIONS))
    worker = Worker(*pickle.loads(sent), cpus=1)
    assert worker.prepare() is None
    job = Job(source=source, destination=there, is_listed=False)
    assert worker.restore(job, is_again=False).outcome is Outcome.DONE
    assert here.read_bytes() == there.read_bytes()
    # It exists; after a loss that means that it is done.
    assert worker.restore(job, is_again=False).outcome is Outcome.FAILED
    assert worker.restore(job, is_again=True).outcome is Outcome.SKIPPED


def test_what_a_workers_device_cannot_is_returned() -> None:
    worker = Worker(builder_of(one_layer(), RestorerOptions(device="cuda:99")), OPTIONS, cpus=1)
    assert isinstance(worker.prepare(), UsageError)


def test_what_cannot_be_cut_is_restored_as_a_whole_or_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A film without PyAV: the job fails, not the run."""
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(40))
    worker = Worker(builder_of(one_layer(), RestorerOptions(device="cpu")), OPTIONS, cpus=1, whole_px=1)
    assert worker.prepare() is None
    result = worker.restore(
        Job(source=tmp_path / "a.mp4", destination=tmp_path / "b.mkv", is_listed=False), is_again=False
    )
    assert isinstance(result, JobResult)
    assert result.outcome is Outcome.FAILED
    assert "pip install 'swinir[film]'" in str(result.error)


def test_an_enlarger_is_built_again_with_its_models() -> None:
    restorer = one_layer()
    given = Enlarger(TargetSize(scale=Fraction(3, 2)), models={2: restorer, 4: "real-x4"})
    built = pickle.loads(pickle.dumps(builder_of(given, RestorerOptions(device="cpu", tile=64))))()
    assert built.settings == given.settings
    assert built.models[2].options == RestorerOptions(device="cpu", tile=64)


def test_a_cluster_makes_the_files_of_one_machine_a_giant_in_pieces_and_workers_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A worker that has just started, one with a whole file, and one with a piece.
    played = PlayedRay(lambda number: number in {2, 5, 9})
    monkeypatch.setitem(sys.modules, "ray", played)
    scans, restorer = tmp_path / "scans", one_layer(tile=32)
    scans.mkdir()
    for name, height in {"a.png": 20, "b.png": 33, "giant.tif": 200, "c.png": 9}.items():
        pixels = np.random.default_rng(height).integers(0, 256, (height, 40, 3), dtype=np.uint8)
        imaging.write(imaging.Image(pixels=pixels), scans / name)
    monkeypatch.chdir(tmp_path)
    plan = plan_jobs(["scans"], output="there", label="x2")
    cluster = ClusterOptions(cpus=1, whole_px=5_000)
    results = list(restore_on_cluster(restorer, plan, restorer.options, cluster, layout=TiffLayout.TILES))
    assert {result.job for result in results} == set(plan)
    assert [result.outcome for result in results] == 4 * [Outcome.DONE]
    assert played.calls.count("restore_piece") > 2
    assert played.calls.count("join_pieces") == 1
    assert played.calls.count("prepare") == 6
    list(restore_files(restorer, plan_jobs(["scans"], output="here", label="x2"), layout=TiffLayout.TILES))
    names = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == names
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()
