"""The same jobs on a Ray cluster: one worker for each GPU, or for so many cores, on every machine.

What workers read and write, all machines see under one name: a shared disk, or URLs.
"""

import logging
import os
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch

from swinir.engine import RUNTIMES, Enlarger, Restorer, TargetSize
from swinir.engine.hardware import ALL_GPUS, AUTO
from swinir.errors import ClusterError, MissingPackageError, SwinIRError, UsageError
from swinir.jobs.dispatch import Task, WorkerLostError, restore_on_workers
from swinir.jobs.options import AnyRestorer, JobChoices, JobOptions
from swinir.jobs.pieces import Cut, Piece, join_pieces, restore_piece
from swinir.jobs.places import is_remote
from swinir.jobs.plan import Job, JobResult
from swinir.jobs.task import FileTask
from swinir.options import RestorerOptions

_log = logging.getLogger(__name__)
# Addresses that are none: the cluster that this machine belongs to, and one of this machine alone, for this run.
AUTO_ADDRESS, LOCAL_ADDRESS = "auto", "local"
# Of a worker where no GPU computes: more share less well what is not the network, fewer take more memory in all.
DEFAULT_CPUS = 4
# Beside a GPU one file is read or written while another is restored.
_FILES_BESIDE_GPU = 3
_ANSWER_S = 10
# For what workers send; files do not go through it.
_LOCAL_STORE_BYTES = 200 * 2**20


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Which cluster, and how it is used.

    Attributes:
        address: "auto" (the cluster that this machine belongs to), "local" (workers of this machine, for this run),
            or what Ray takes: "host:6379", "ray://host:10001".
        cpus: cores of each worker; None for one beside a GPU, else ``DEFAULT_CPUS``, or all of a smaller machine.
        whole_px: pixels of a file from which on several workers do it in pieces, on a shared disk.

    Raises:
        UsageError: no core is left for a worker.
    """

    address: str = AUTO_ADDRESS
    cpus: int | None = None
    whole_px: int = 100_000_000

    def __post_init__(self) -> None:
        if self.cpus is not None and self.cpus < 1:
            raise UsageError(f"cpus is {self.cpus}: a worker takes at least 1")


@dataclass(frozen=True, kw_only=True)
class Share:
    """What of a cluster each worker takes.

    Attributes:
        number: of workers.
        cpus: cores of each.
        gpus: GPUs of each, 0 or 1.
    """

    number: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        workers = f"{self.number:,} {'worker' if self.number == 1 else 'workers'}"
        if self.gpus:
            return f"{workers} with a GPU each"
        return f"{workers} of {self.cpus} {'core' if self.cpus == 1 else 'cores'}"


def restore_on_cluster(
    restorer: AnyRestorer,
    jobs: Iterable[Job],
    options: RestorerOptions,
    cluster: ClusterOptions,
    **choices: Unpack[JobChoices],
) -> Iterator[JobResult]:
    """Do all jobs on a Ray cluster, and yield what came of each as it is there; see ``restore_files``.

    Results are those of one machine, to the byte, where processors are of one kind. A job whose worker is lost is
    done by another one. A connection to a cluster that the program has already is used, and stays.

    Args:
        restorer: whose models restore; it computes nothing itself.
        jobs: from ``plan_jobs``; all machines see their files under these names.
        options: of each worker's Restorer; the device "auto" is a GPU where the cluster has any.
        cluster: which, and how it is used.
        choices: fields of ``JobOptions``; nothing follows the progress.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: there is no such cluster, or its workers do not start.
        UsageError: a choice is impossible there.
    """
    job_options = replace(JobOptions(**choices), progress_of=None)
    with _connected(cluster.address) as ray:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        share = share_machines(machines, options, cluster.cpus)
        _log.info("Ray: %s", share)
        device = "cuda" if share.gpus else "cpu" if options.device == AUTO else options.device
        build = builder_of(restorer, options.changed(device=device))
        workers = _RayWorkers(ray, share, build, job_options, cluster.whole_px)
        yield from restore_on_workers(workers, jobs, number=share.number)


def share_machines(
    machines: Sequence[Mapping[str, float]], options: RestorerOptions, cpus: int | None
) -> Share:
    """Decide how many workers there are, and what each takes.

    Args:
        machines: what each has, as Ray names it: CPU, GPU.
        options: of the Restorers.
        cpus: cores of each worker; None for the default.

    Raises:
        UsageError: the device is one of a single machine, or none of the cluster has it.
    """
    device = options.device
    num_gpus = sum(int(machine.get("GPU", 0)) for machine in machines)
    wants_gpu = device.startswith("cuda") and options.backend not in RUNTIMES
    if wants_gpu and device not in {"cuda", ALL_GPUS}:
        raise UsageError(
            f"device {device!r} is one GPU of one machine: on a cluster choose cuda, cpu or auto"
        )
    if wants_gpu and num_gpus == 0:
        raise UsageError(
            f"device {device!r} is asked for, and Ray knows of no GPU in the cluster: choose cpu"
        )
    if num_gpus and (wants_gpu or device == AUTO):
        return Share(number=num_gpus, cpus=cpus or 1, gpus=1)
    cores = [int(machine.get("CPU", 0)) for machine in machines]
    each = cpus or max(1, min(DEFAULT_CPUS, max(cores, default=0)))
    number = sum(count // each for count in cores)
    if number == 0:
        raise UsageError(
            f"no machine of the cluster has {each} cores, the most are {max(cores, default=0)}: ask for fewer "
            "(--ray-cpus)"
        )
    return Share(number=number, cpus=each, gpus=0)


def builder_of(restorer: AnyRestorer, options: RestorerOptions) -> Callable[[], AnyRestorer]:
    """Return what builds the same with other options, in another process."""
    if isinstance(restorer, Restorer):
        return _builder_of_one(restorer, options)
    models = {
        scale: model if isinstance(model, str) else _builder_of_one(model, options)
        for scale, model in restorer.models.items()
    }
    return partial(_build_enlarger, restorer.size, models, options)


def _builder_of_one(restorer: Restorer, options: RestorerOptions) -> Callable[[], Restorer]:
    parameters = restorer.forward_pass.copy_parameters()
    return partial(Restorer, restorer.config, parameters, options, name=restorer.name)


def _build_enlarger(
    size: TargetSize, models: Mapping[int, str | Callable[[], Restorer]], options: RestorerOptions
) -> Enlarger:
    built = {scale: model if isinstance(model, str) else model() for scale, model in models.items()}
    return Enlarger(size, options, models=built)


class Worker:
    """What restores, in a process of its own.

    Args:
        build: makes its Restorer.
        options: of all jobs.
        cpus: threads that compute.
        whole_px: of a file from which on it is cut into pieces; None for no file.
    """

    def __init__(
        self, build: Callable[[], AnyRestorer], options: JobOptions, cpus: int, whole_px: int | None = None
    ) -> None:
        self._build = build
        self._options = options
        self._cpus = cpus
        self._whole_px = whole_px
        self._restorer: AnyRestorer | None = None

    def prepare(self) -> SwinIRError | None:
        """Build the Restorer; return why that is impossible."""
        torch.set_num_threads(self._cpus)
        try:
            self._restorer = self._build()
        except SwinIRError as error:
            return error
        return None

    def restore(self, job: Job, *, is_again: bool) -> JobResult | Cut | SwinIRError:
        """Restore one file, or cut it into pieces; ``is_again``: a worker that was lost may have finished it."""
        restorer = self._restorer
        assert restorer is not None
        if is_again:
            job = replace(job, is_listed=True)
        try:
            task = FileTask(job, self._options, restorer).read()
            if (cut := self._cut(task)) is not None:
                return cut
            task.restore(restorer)
            return task.write()
        except UsageError as error:
            return error

    def restore_piece(self, job: Job, piece: Piece) -> JobResult | SwinIRError:
        """Restore a piece."""
        assert self._restorer is not None
        try:
            return restore_piece(self._restorer, job, piece, self._options)
        except UsageError as error:
            return error

    def join_pieces(self, job: Job, cut: Cut) -> JobResult | SwinIRError:
        """Join all pieces."""
        assert self._restorer is not None
        try:
            return join_pieces(self._restorer, job, cut, self._options)
        except UsageError as error:
            return error

    def _cut(self, task: FileTask) -> Cut | None:
        if self._whole_px is None or is_remote(task.job.source) or is_remote(task.job.destination):
            return None
        # What goes wrong here, restoring the whole says better.
        with suppress(SwinIRError, OSError):
            return task.cut(self._whole_px)
        return None


class _RayWorkers:
    """Workers that Ray starts wherever the cluster has room."""

    def __init__(
        self,
        ray: Any,
        share: Share,
        build: Callable[[], AnyRestorer],
        options: JobOptions,
        whole_px: int,
    ) -> None:
        self.tasks_at_once = _FILES_BESIDE_GPU if share.gpus else 1
        self._ray = ray
        self._share = share
        actor = ray.remote(Worker)
        self._actor = actor.options(
            num_cpus=share.cpus, num_gpus=share.gpus, max_concurrency=self.tasks_at_once, max_restarts=0
        )
        # Once to each machine, not once to each worker.
        self._arguments = ray.put(build), ray.put(options), share.cpus, whole_px if share.number > 1 else None

    def start(self) -> tuple[Any, Any]:
        worker = self._actor.remote(*self._arguments)
        return worker, worker.prepare.remote()

    def submit(self, worker: Any, task: Task) -> Any:
        job = task.job
        # Workers have a current folder of their own.
        job = replace(job, source=absolute(job.source), destination=absolute(job.destination))
        if task.is_joining:
            return worker.join_pieces.remote(job, task.step)
        if task.step is not None:
            return worker.restore_piece.remote(job, task.step)
        return worker.restore.remote(job, is_again=task.num_losses > 0)

    def wait(self, calls: Sequence[Any]) -> Sequence[Any]:
        ended, _ = self._ray.wait(list(calls), num_returns=1)
        more, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return more or ended

    def answer(self, call: Any) -> Any:
        try:
            return self._ray.get(call)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.OutOfMemoryError) as error:
            raise WorkerLostError(" ".join(str(error).split())) from error

    def stop(self, worker: Any) -> None:
        self._ray.kill(worker)


def absolute(path: Path) -> Path:
    """Return the name that other machines know a file by."""
    return path if is_remote(path) else path.absolute()


@contextmanager
def _connected(address: str) -> Generator[Any]:
    """Connect to a cluster, unless the program is connected already.

    Raises:
        MissingPackageError: Ray is not installed.
        ClusterError: there is no such cluster.
    """
    # The cluster's users have not been asked.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray  # noqa: PLC0415  an extra
    except ImportError as error:
        raise MissingPackageError("a cluster takes Ray: run pip install 'swinir[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    hint = "start one (ray start --head), name its address, or use this machine alone (--ray local)"
    if not _answers(address):
        raise ClusterError(f"nothing answers at {address}: {hint}")
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": _LOCAL_STORE_BYTES}
    try:
        ray.init(
            address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == LOCAL_ADDRESS else {}),
        )
    except Exception as error:
        # Of the class itself, where a machine is too busy to start in time.
        where = "here" if address == AUTO_ADDRESS else f"at {address} ({error})"
        raise ClusterError(f"there is no Ray cluster {where}: {hint}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _answers(address: str) -> bool:
    """Tell whether something is at an address with a port: Ray itself tries for minutes before it gives up."""
    if address == AUTO_ADDRESS:
        address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        return True
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except OSError:
        return False
    return True
