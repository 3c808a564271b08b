"""Methods side by side: all are built, checked and warmed up, then timed in interleaved rounds."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import inf, isfinite, log10
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from swinir.bench import baselines, measure
from swinir.bench.baselines import OURS, BuildMethod, Method
from swinir.bench.meter import Meter, choose_meter, without_tf32
from swinir.bench.workload import Workload
from swinir.engine.memory import is_out_of_memory
from swinir.errors import RestoreError
from swinir.model.flops import FLOPS_PER_MULTIPLY_ADD
from swinir.options import Precision
from swinir.provenance import read_provenance

# Outputs may be this far from the reference in float32, as a fraction of the output's own deviation from its mean.
# bf16 products are below 0.01 away; another network, or a wrong one, is near 1.
LARGEST_RELATIVE_ERROR = 0.05
GIGA = 1e9


class Difference(NamedTuple):
    """How far an output is from the reference in float32: of values in [0, 1], in dB, of the deviation."""

    max_abs_error: float
    psnr_db: float
    relative_error: float


class WarmedUp(NamedTuple):
    """A method that is built, checked and warm: its peak memory, and its difference from the reference."""

    method: Method
    peak_bytes: int | None
    difference: Difference | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one method.

    Attributes:
        seconds: one for each round.
        gemm_gflop_per_s: matrix products of this precision in the same rounds.
        peak_bytes: the peak memory while restoring, beyond that of the warm process.
        times_ours: its time over ours, the median over the rounds.
        difference: from the reference in float32; None for another network.
    """

    method: str
    settings: str
    precision: str
    gflop: float
    seconds: tuple[float, ...]
    gemm_gflop_per_s: float
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
    def fraction_of_gemm_peak(self) -> float:
        """That over the rate of matrix products."""
        return self.gflop_per_s / self.gemm_gflop_per_s

    @property
    def agrees(self) -> bool:
        """Whether the output is right: no method may be fast by being wrong."""
        return self.difference is None or self.difference.relative_error <= LARGEST_RELATIVE_ERROR

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold; an infinite PSNR (equal outputs) becomes None."""
        difference: dict[str, float | None] = dict.fromkeys(Difference._fields)
        if self.difference is not None:
            difference = {
                name: value if isfinite(value) else None for name, value in self.difference._asdict().items()
            }
        return {
            "method": self.method,
            "settings": self.settings,
            "precision": self.precision,
            "gflop": self.gflop,
            **{f"{name}_s": value for name, value in self.quantiles._asdict().items()},
            "gflop_per_s": self.gflop_per_s,
            "fraction_of_gemm_peak": self.fraction_of_gemm_peak,
            "peak_bytes": self.peak_bytes,
            "times_ours": self.times_ours,
            **difference,
            "agrees": self.agrees,
            "seconds": list(self.seconds),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Methods measured side by side.

    Attributes:
        provenance: processor, versions, commit, and the GPU where there is one.
        weights: where the parameters came from.
        batch: how many images are restored at once.
        size: height and width of each.
        device: of all methods.
        gemm_gflop_per_s: matrix products by precision, of 2048³ on a CPU and 8192³ on a GPU.
        failed: why a method is missing, by name.
    """

    provenance: dict[str, Any]
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
    gemm_gflop_per_s: dict[str, float]
    rows: tuple[Row, ...]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        values = asdict(self)
        return {
            "kind": "bench",
            **values.pop("provenance"),
            **values,
            "size": list(self.size),
            "rows": [row.to_dict() for row in self.rows],
        }


class Prepared(NamedTuple):
    """The methods to time, ours first, and why others failed, by name."""

    methods: tuple[WarmedUp, ...]
    failed: dict[str, str]


def prepare(
    workload: Workload, builders: Mapping[str, BuildMethod], *, notice: Callable[[str], None] | None = None
) -> Prepared:
    """Build our method and the others, check what they restore, and warm them up.

    Another method that fails, as where the GPU has less memory than it needs, is left out.

    Args:
        workload: what all methods restore.
        builders: the others by name, such as entries of ``BASELINES``.
        notice: called with the name of the method that is built next.
    """
    meter = choose_meter(workload.image.device)
    with without_tf32():
        expected = baselines.reference(workload, Precision.FP32).restore(workload.image)
    methods: list[WarmedUp] = []
    failed: dict[str, str] = {}
    for name, build in {OURS: baselines.ours, **builders}.items():
        if notice is not None:
            notice(name)
        try:
            methods.append(check_and_warm_up(build(workload), workload.image, expected, meter))
        except RuntimeError as error:
            if name == OURS:
                raise
            failed[name] = "out of memory" if is_out_of_memory(error) else _first_line(error)
    return Prepared(tuple(methods), failed)


def check_and_warm_up(method: Method, image: Tensor, expected: Tensor, meter: Meter) -> WarmedUp:
    """Warm a method up and compare what it restores with the reference."""
    peak_bytes, restored = warm_up(method, image, meter)
    difference = compute_difference(restored, expected) if method.is_same_network else None
    return WarmedUp(method, peak_bytes, difference)


def compare(
    workload: Workload,
    prepared: Prepared,
    *,
    weights: str,
    rounds: int,
    progress: Callable[[int, int], None] | None = None,
    gemm_size: int | None = None,
) -> Comparison:
    """Time all methods, and the matrix products that are the limit, once in each round.

    Args:
        workload: what all methods restore.
        prepared: from ``prepare``.
        weights: where the parameters came from, for the report.
        rounds: how often each method is timed.
        progress: called with how many runs are done of all.
        gemm_size: side of the matrix products; the meter's own unless given.
    """
    device = workload.image.device
    meter = choose_meter(device)
    size = gemm_size or meter.gemm_size
    gemms = {
        precision: measure.make_gemm(precision.dtype, size, device) for precision in meter.gemm_precisions
    }
    for gemm in gemms.values():
        gemm()
    runs = {warm.method.name: _make_run(warm.method, workload.image) for warm in prepared.methods}
    samples = measure.time_interleaved(
        {**runs, **{f"gemm in {precision}": gemm for precision, gemm in gemms.items()}},
        rounds=rounds,
        pause_s=meter.pause_s,
        progress=progress,
        measure_seconds=meter.measure_seconds,
    )
    rates = {
        precision: measure.count_gemm_flop(size)
        / measure.quantiles(samples[f"gemm in {precision}"]).p50
        / GIGA
        for precision in gemms
    }
    rows = tuple(
        make_row(
            warm,
            samples[warm.method.name],
            samples[OURS],
            gemm_gflop_per_s=rates[warm.method.precision],
        )
        for warm in prepared.methods
    )
    description = workload.restorer.describe()
    return Comparison(
        provenance=read_provenance().to_dict() | meter.describe(),
        model=description["model"],
        weights=weights,
        scale=description["scale"],
        device=description["device"],
        batch=len(workload.image),
        size=(workload.image.shape[-2], workload.image.shape[-1]),
        precision=description["precision"],
        backend=description["backend"],
        reason=description["reason"],
        threads=workload.threads,
        rounds=rounds,
        gemm_gflop_per_s={precision.value: rate for precision, rate in rates.items()},
        rows=rows,
        failed=prepared.failed,
    )


def warm_up(method: Method, image: Tensor, meter: Meter) -> tuple[int | None, Tensor]:
    """Restore until the next run is like all later ones; return a run's peak memory and the last output.

    The peak is counted beyond what was in use once the method had run, or, of one that keeps its buffers from
    run to run, beyond what was in use before. On a GPU it is that of the first run, since later ones may be
    recorded as a graph, whose memory is not counted.
    """
    outputs: list[Tensor] = []

    def run() -> None:
        outputs[:] = [method.restore(image)]

    start = meter.bytes_in_use()
    if image.device.type == "cuda":
        peak = meter.measure_peak(run)
        for _ in range(meter.warm_ups - 1):
            run()
    else:
        for _ in range(meter.warm_ups):
            run()
        if not method.keeps_buffers:
            outputs.clear()
            start = meter.bytes_in_use()
        peak = meter.measure_peak(run)
    if start is None or peak is None or not method.has_counted_memory:
        return None, outputs[0]
    return max(peak - start, 0), outputs[0]


def compute_difference(restored: Tensor, expected: Tensor) -> Difference:
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
    warm: WarmedUp, seconds: Sequence[float], seconds_of_ours: Sequence[float], *, gemm_gflop_per_s: float
) -> Row:
    """Put together what was measured of one method."""
    ratios = [own / ours for own, ours in zip(seconds, seconds_of_ours, strict=True)]
    return Row(
        method=warm.method.name,
        settings=warm.method.settings,
        precision=warm.method.precision.value,
        gflop=FLOPS_PER_MULTIPLY_ADD * warm.method.multiply_adds / GIGA,
        seconds=tuple(seconds),
        gemm_gflop_per_s=gemm_gflop_per_s,
        peak_bytes=warm.peak_bytes,
        times_ours=float(np.median(ratios)),
        difference=warm.difference,
    )


@contextmanager
def oom_as_restore_error(workload: Workload) -> Generator[None]:
    """Turn out-of-memory errors of our own method, or of the reference it is checked against, into one sentence.

    Raises:
        RestoreError: memory ran out.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        batch, _, height, width = workload.image.shape
        raise RestoreError(
            f"{workload.image.device} has too little memory for {batch} × {height}×{width} pixels at once: "
            "measure a smaller size or batch"
        ) from error


def _first_line(error: RuntimeError) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _make_run(method: Method, image: Tensor) -> Callable[[], Tensor]:
    return lambda: method.restore(image)
