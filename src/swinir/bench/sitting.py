"""One sitting: everybody is built, checked and warmed up, then timed in turn; a report comes out."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf, isfinite, log10
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from swinir.bench import contenders as field
from swinir.bench import machine, measure
from swinir.bench.contenders import CONTENDERS, OURS, Contender, Task
from swinir.bench.flops import FLOPS_PER_MULTIPLY_ADD
from swinir.bench.gauge import Gauge, exactly, gauge_of
from swinir.engine.hardware import Precision
from swinir.engine.memory import is_out_of_memory
from swinir.errors import RestoreError

# Contenders' outputs may be this far from the reference in float32, as a share of the output's own deviation
# from its mean. bf16 products are below 0.01 away; another network, or a wrong one, is near 1.
LARGEST_RELATIVE_ERROR = 0.05
GIGA = 1e9


class Difference(NamedTuple):
    """How far an output is from the reference in float32: of values in [0, 1], in dB, of the deviation."""

    max_abs_error: float
    psnr_db: float
    relative_error: float


class Ready(NamedTuple):
    """A contender that is built, checked and warm: the peak of its memory, and how far it is from right."""

    contender: Contender
    peak_bytes: int | None
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found of one contender.

    Attributes:
        seconds: one for each round.
        limit_gflop_per_s: matrix products of this precision in the same rounds.
        peak_bytes: the most memory while restoring, beyond that of the warm process.
        times_ours: how many times as long as ours it took, the median over the rounds.
        difference: from the reference in float32; None for another network.
    """

    contender: str
    settings: str
    precision: str
    gflop: float
    seconds: tuple[float, ...]
    limit_gflop_per_s: float
    peak_bytes: int | None
    times_ours: float
    difference: Difference | None

    @property
    def quantiles(self) -> measure.Quantiles:
        """Of the seconds."""
        return measure.quantiles(self.seconds)

    @property
    def gflop_per_s(self) -> float:
        """Arithmetic per second in the median round."""
        return self.gflop / self.quantiles.p50

    @property
    def share_of_limit(self) -> float:
        """That over the rate of matrix products."""
        return self.gflop_per_s / self.limit_gflop_per_s

    @property
    def agrees(self) -> bool:
        """Whether the output is right: nobody may be fast by being wrong."""
        return self.difference is None or self.difference.relative_error <= LARGEST_RELATIVE_ERROR

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; an infinite PSNR (equal outputs) becomes None."""
        difference: dict[str, float | None] = dict.fromkeys(Difference._fields)
        if self.difference is not None:
            difference = {
                name: value if isfinite(value) else None for name, value in self.difference._asdict().items()
            }
        return {
            "contender": self.contender,
            "settings": self.settings,
            "precision": self.precision,
            "gflop": self.gflop,
            **{f"{name}_s": value for name, value in self.quantiles._asdict().items()},
            "gflop_per_s": self.gflop_per_s,
            "share_of_limit": self.share_of_limit,
            "peak_bytes": self.peak_bytes,
            "times_ours": self.times_ours,
            **difference,
            "agrees": self.agrees,
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything about one sitting.

    Attributes:
        machine: processor, versions, commit.
        weights: where the parameters came from.
        batch: how many images are restored at once.
        size: height and width of each.
        device: of everybody.
        limits_gflop_per_s: matrix products by precision, of 2048³ on a processor and 8192³ on a GPU.
        failed: why who is missing is missing, by name.
    """

    machine: dict[str, Any]
    model: str
    weights: str
    scale: int
    device: str
    batch: int
    size: tuple[int, int]
    precision: str
    backend: str
    reason: str
    threads: int
    rounds: int
    limits_gflop_per_s: dict[str, float]
    rows: tuple[Row, ...]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        values = asdict(self)
        return {
            "kind": "bench",
            **values.pop("machine"),
            **values,
            "size": list(self.size),
            "rows": [row.to_dict() for row in self.rows],
        }


class Prepared(NamedTuple):
    """Who takes part, ours first, and why others do not, by name."""

    everybody: tuple[Ready, ...]
    failed: dict[str, str]


def prepare(task: Task, names: Sequence[str], *, notice: Callable[[str], None] | None = None) -> Prepared:
    """Build our network and the named contenders, check what they restore, and warm them up.

    Another contender that fails, as where the GPU has less memory than it needs, does not take part.

    Args:
        task: what everybody does.
        names: of ``CONTENDERS``.
        notice: told who is being built.
    """
    gauge = gauge_of(task.image.device)
    with exactly():
        expected = field.reference(task, Precision.FP32).restore(task.image)
    ready: list[Ready] = []
    failed: dict[str, str] = {}
    for name, build in {OURS: field.ours, **{name: CONTENDERS[name] for name in names}}.items():
        if notice is not None:
            notice(name)
        try:
            ready.append(get_ready(build(task), task.image, expected, gauge))
        except RuntimeError as error:
            if name == OURS:
                raise
            failed[name] = "out of memory" if is_out_of_memory(error) else _first_line(error)
    return Prepared(tuple(ready), failed)


def get_ready(contender: Contender, image: Tensor, expected: Tensor, gauge: Gauge) -> Ready:
    """Warm a contender up and check what it restores."""
    peak_bytes, restored = warm_up(contender, image, gauge)
    found = difference(restored, expected) if contender.is_same_network else None
    return Ready(contender, peak_bytes, found)


def compare(
    task: Task,
    prepared: Prepared,
    *,
    weights: str,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Have everybody, and the matrix products that are the limit, take turns for some rounds.

    Args:
        task: what everybody does.
        prepared: from ``prepare``.
        weights: where the parameters came from, for the report.
        rounds: how often everybody has a turn.
        progress: told how many turns are done of all.
    """
    everybody, device = prepared.everybody, task.image.device
    gauge = gauge_of(device)
    size = gauge.product_size
    products = {
        precision: measure.matrix_product(precision.dtype, size, device) for precision in gauge.limits
    }
    for product in products.values():
        product()
    runs = {ready.contender.name: _run(ready.contender, task.image) for ready in everybody}
    samples = measure.interleaved(
        {**runs, **{f"product in {precision}": product for precision, product in products.items()}},
        rounds=rounds,
        pause_s=gauge.pause_s,
        progress=progress,
        seconds_of=gauge.seconds_of,
    )
    limits = {
        precision: measure.product_flops(size)
        / measure.quantiles(samples[f"product in {precision}"]).p50
        / GIGA
        for precision in gauge.limits
    }
    rows = tuple(
        make_row(
            ready,
            samples[ready.contender.name],
            samples[OURS],
            limit_gflop_per_s=limits[ready.contender.precision],
        )
        for ready in everybody
    )
    told = task.restorer.describe()
    return Report(
        machine=machine.describe() | gauge.describe(),
        model=told["model"],
        weights=weights,
        scale=told["scale"],
        device=told["device"],
        batch=len(task.image),
        size=(task.image.shape[-2], task.image.shape[-1]),
        precision=told["precision"],
        backend=told["backend"],
        reason=told["reason"],
        threads=task.threads,
        rounds=rounds,
        limits_gflop_per_s={precision.value: limit for precision, limit in limits.items()},
        rows=rows,
        failed=prepared.failed,
    )


def warm_up(contender: Contender, image: Tensor, gauge: Gauge) -> tuple[int | None, Tensor]:
    """Restore until the next time is like all others; return a pass's peak of memory and the last output.

    The peak is counted beyond what was there once the contender had run, or, of one that keeps its buffers from
    run to run, beyond what was there before. On a GPU it is that of the first pass, since later ones may be
    recorded, which hides what they take.
    """
    outputs: list[Tensor] = []

    def run() -> None:
        outputs[:] = [contender.restore(image)]

    start = gauge.bytes_in_use()
    if image.device.type == "cuda":
        peak = gauge.peak_during(run)
        for _ in range(gauge.warm_ups - 1):
            run()
    else:
        for _ in range(gauge.warm_ups):
            run()
        if not contender.keeps_buffers:
            outputs.clear()
            start = gauge.bytes_in_use()
        peak = gauge.peak_during(run)
    if start is None or peak is None or not contender.tells_memory:
        return None, outputs[0]
    return max(peak - start, 0), outputs[0]


def difference(restored: Tensor, expected: Tensor) -> Difference:
    """Compare an output with the right one."""
    assert restored.shape == expected.shape, f"{restored.shape} is not {expected.shape}"
    found, right = (tensor.double() for tensor in (restored, expected))
    error = (found - right).square().mean().item()
    deviation = (right - right.mean()).square().mean().item()
    return Difference(
        max_abs_error=(found - right).abs().max().item(),
        psnr_db=-10 * log10(error) if error > 0 else inf,
        # An output that is the same everywhere has no deviation to compare with.
        relative_error=(error / deviation) ** 0.5 if deviation > 0 else error**0.5,
    )


def make_row(
    ready: Ready, seconds: Sequence[float], seconds_of_ours: Sequence[float], *, limit_gflop_per_s: float
) -> Row:
    """Put together what was found of one contender."""
    contender = ready.contender
    ratios = [own / ours for own, ours in zip(seconds, seconds_of_ours, strict=True)]
    return Row(
        contender=contender.name,
        settings=contender.settings,
        precision=contender.precision.value,
        gflop=FLOPS_PER_MULTIPLY_ADD * contender.multiply_adds / GIGA,
        seconds=tuple(seconds),
        limit_gflop_per_s=limit_gflop_per_s,
        peak_bytes=ready.peak_bytes,
        times_ours=float(np.median(ratios)),
        difference=ready.difference,
    )


@contextmanager
def shortage_told(task: Task) -> Generator[None]:
    """Say what to do where we ourselves, or the plain PyTorch that we are checked against, run out of memory.

    Raises:
        RestoreError: they do.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        batch, _, height, width = task.image.shape
        raise RestoreError(
            f"{task.image.device} has too little memory for {batch} × {height}×{width} pixels at once: "
            "measure a smaller size or batch"
        ) from error


def random_image(
    channels: int, size: tuple[int, int], generator: torch.Generator, *, batch: int = 1
) -> Float[Tensor, "b c h w"]:
    """Draw images of values in [0, 1]."""
    return torch.rand(batch, channels, *size, generator=generator)


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _run(contender: Contender, image: Tensor) -> Callable[[], Tensor]:
    return lambda: contender.restore(image)
