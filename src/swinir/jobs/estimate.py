"""How much work jobs are: pixels and tiles from headers, seconds from a small image that is restored for that."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from swinir import film, imaging
from swinir.engine import Enlarger, Restorer
from swinir.engine.hardware import is_cpu
from swinir.errors import ImageError
from swinir.jobs.bands import streaming_limits
from swinir.jobs.inputs import is_film
from swinir.jobs.options import AnyRestorer
from swinir.jobs.places import is_remote
from swinir.jobs.plan import Job, JobPlan
from swinir.options import FramesChoice

# Side of the image that is timed.
_PROBE_PX = 96
# Below so many pixels through the network, work takes less than a minute on any machine of its kind.
_LEAST_PX = {"cpu": 300_000}
_LEAST_PX_OF_OTHERS = 20_000_000
# Headers that are read; the rest of the files counts as these do on average.
_MOST_HEADERS = 500


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """How much work is ahead.

    Attributes:
        input_px: pixels of all inputs.
        output_px: pixels of all outputs.
        num_tiles: pieces that go through a network.
        seconds: time that takes, about.
    """

    input_px: int
    output_px: int
    num_tiles: int
    seconds: float


def estimate_work(
    plan: JobPlan,
    team: Sequence[AnyRestorer],
    *,
    limits: imaging.Limits = imaging.DEFAULT_LIMITS,
    frames: FramesChoice = FramesChoice.AUTO,
    is_wanted: Callable[[Job], bool] = lambda _: True,
    clock: Callable[[], float] = time.perf_counter,
) -> Estimate | None:
    """Estimate what jobs take; None where that is too little to be worth a measurement.

    Args:
        plan: the jobs.
        team: that does them, each its part.
        limits: against files that would fill the memory.
        frames: which frames of animations, or pages, are restored.
        is_wanted: whether a job is going to be done.
        clock: what tells seconds.
    """
    wanted = [job for job in plan if job.problem is None and is_wanted(job)]
    first = team[0]
    seconds: dict[int, float] = {}
    input_px = output_px = num_tiles = network_px = num_known = 0
    work: list[tuple[Restorer, int]] = []
    for job in islice(wanted, _MOST_HEADERS):
        size = _peek_size(job, limits, frames)
        if size is None:
            continue
        height, width, count = size
        num_known += 1
        try:
            passes = first.passes(height, width) if isinstance(first, Enlarger) else [first]
        except ImageError:
            continue
        made = first.output_size(height, width)
        input_px += count * height * width
        output_px += count * made[0] * made[1]
        for restorer in passes:
            num_tiles += count * restorer.budget.choose(height, width).plan.num_tiles
            network_px += count * height * width
            work.append((restorer, count * height * width))
            height, width = restorer.output_size(height, width)
    share = len(wanted) / max(num_known, 1)
    if network_px * share < _LEAST_PX.get(first.device.type, _LEAST_PX_OF_OTHERS):
        return None
    for restorer, _ in work:
        if id(restorer) not in seconds:
            seconds[id(restorer)] = _time(restorer, clock) / _PROBE_PX**2
    total_s = sum(seconds[id(restorer)] * pixels for restorer, pixels in work)
    return Estimate(
        input_px=int(input_px * share),
        output_px=int(output_px * share),
        num_tiles=int(num_tiles * share),
        seconds=total_s * share / len(team),
    )


def _peek_size(job: Job, limits: imaging.Limits, frames: FramesChoice) -> tuple[int, int, int] | None:
    """Return height and width of an input, and how many frames or pages of it are restored."""
    if is_remote(job.source):
        return None
    if is_film(job.source):
        return film.peek_film(job.source)
    size = imaging.peek_size(job.source, streaming_limits(limits))
    if size is None or frames is not FramesChoice.FIRST:
        return size
    return size.height, size.width, 1


def _time(restorer: Restorer, clock: Callable[[], float]) -> float:
    image = np.zeros((_PROBE_PX, _PROBE_PX, 3), np.uint8)
    if not is_cpu(restorer.device):
        # What is made once takes longer.
        restorer(image)
    began = clock()
    restorer(image)
    return clock() - began
