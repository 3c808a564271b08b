"""Reports of restored files: text for people, lines of JSON for programs."""

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

from swinir.cli.console import Bar, Output, duration, err, out, progress_bars
from swinir.cli.piping import with_names
from swinir.engine import Progress
from swinir.errors import SwinIRError
from swinir.imaging import shown_path
from swinir.jobs import Estimate, Job, JobPlan, JobResult, Outcome
from swinir.urls import name_of

# Work that takes longer is announced.
LONG_S = 60


@runtime_checkable
class Report(Protocol):
    """Follows jobs from the first to the last."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *_: object) -> None:
        """End."""
        ...

    def progress_of(self, job: Job) -> Progress | None:
        """Return what follows a job that begins."""
        ...

    def add(self, result: JobResult) -> None:
        """Take note of how a job ended."""
        ...


class TextReport:
    """Lines on standard output, failures on standard error, bars on a terminal, and a summary.

    Args:
        plan: what is going to be done.
        estimate: how much work that is.
        is_quiet: say nothing but failures.
        output: for lines; standard error where standard output is an image.
        names: of files that stand for standard input and output.
    """

    def __init__(
        self,
        plan: JobPlan,
        estimate: Estimate | None = None,
        *,
        is_quiet: bool,
        output: Output = out,
        names: Mapping[Path, str] | None = None,
    ) -> None:
        self._plan = plan
        self._estimate = estimate
        self._is_quiet = is_quiet
        self._out = output
        self._names = names or {}
        self._numbers = {job.source: number for number, job in enumerate(plan, start=1)}
        self._outcomes: Counter[Outcome] = Counter()
        self._failures: list[str] = []
        self._shown: dict[Path, Bar] = {}
        self._stack = ExitStack()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        estimate = self._estimate
        if estimate is not None and estimate.seconds >= LONG_S and not self._is_quiet:
            err.print(describe(estimate, len(self._plan)), markup=False)
        self._bars = None if self._is_quiet else self._stack.enter_context(progress_bars())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._stack.close()
        # Where nothing could begin, the error says all.
        is_begun = kind is None or bool(self._outcomes)
        if len(self._plan) != 1 and not self._is_quiet and is_begun:
            self._summarize()

    def progress_of(self, job: Job) -> Progress | None:
        """Begin a bar."""
        if self._bars is None:
            return None
        return self._shown.setdefault(job.source, self._bars.begin(self._title(job)))

    def add(self, result: JobResult) -> None:
        """Print how a job ended, and take its bar away."""
        if (bar := self._shown.pop(result.job.source, None)) is not None:
            bar.remove()
        self._outcomes[result.outcome] += 1
        with ExitStack() as stack:
            if self._bars is not None:
                stack.enter_context(self._bars.hidden())
            self._show(result)

    def _show(self, result: JobResult) -> None:
        job = result.job
        title = self._title(job)
        if result.outcome is Outcome.FAILED:
            assert result.error is not None
            message = with_names(with_flag(result.error), self._names)
            # Most errors name the file.
            if (name := self._name(job.source)) not in message:
                message = f"{name}: {message}"
            self._failures.append(message)
            err.print(f"{self._number(job)}{message}", markup=False, style="red")
        elif self._is_quiet:
            return
        elif result.outcome is Outcome.SKIPPED:
            self._out.print(f"{title}: skipped, {shown_path(job.destination)} exists", markup=False)
        else:
            took = duration(result.duration_s)
            where = with_names(shown_path(job.destination), self._names)
            self._out.print(f"{title} -> {where} ({took})", markup=False)
            for note in result.notes:
                self._out.print(f"  note: {note}", markup=False)

    def _title(self, job: Job) -> str:
        return f"{self._number(job)}{self._name(job.source)}"

    def _number(self, job: Job) -> str:
        return f"[{self._numbers[job.source]}/{len(self._plan)}] " if len(self._plan) > 1 else ""

    def _name(self, path: Path) -> str:
        return self._names.get(path) or shown_path(Path(path.name))

    def _summarize(self) -> None:
        parts = [
            f"{self._outcomes[outcome]} {outcome.value}" for outcome in Outcome if self._outcomes[outcome]
        ]
        if num_left := len(self._plan) - self._outcomes.total():
            parts.append(f"{num_left:,} not done")
        text = f"{', '.join(parts) or 'nothing to do'} in {duration(time.monotonic() - self._began)}"
        left_out: list[str] = []
        if self._plan.own_results:
            left_out.append(f"{count(len(self._plan.own_results), 'result')} of earlier runs")
        if self._plan.num_others:
            left_out.append(f"{count(self._plan.num_others, 'file')} of other kinds")
        if left_out:
            text = f"{text}; left out: {', '.join(left_out)}"
        self._out.print(text, markup=False)
        for failure in self._failures:
            err.print(f"  failed: {failure}", markup=False, style="red")


class JsonReport:
    """A line of JSON on standard output for the plan, each result, and the summary.

    Args:
        plan: what is going to be done.
        estimate: how much work that is.
        models: names of those that a picture goes through, or for sizes in pixels may go through.
        computed_by: the same with devices and kernels, as people read it.
        names: of files that stand for standard input and output.
    """

    def __init__(
        self,
        plan: JobPlan,
        estimate: Estimate | None = None,
        *,
        models: Sequence[str],
        computed_by: str,
        names: Mapping[Path, str] | None = None,
    ) -> None:
        self._plan = plan
        self._models = models
        self._computed_by = computed_by
        self._estimate = estimate
        self._names = names or {}
        self._outcomes: Counter[Outcome] = Counter()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        left_out = {"own_results": len(self._plan.own_results), "others": self._plan.num_others}
        estimate = None if self._estimate is None else asdict(self._estimate)
        self._write(
            "plan",
            files=len(self._plan),
            left_out=left_out,
            estimate=estimate,
            models=list(self._models),
            computed_by=self._computed_by,
        )
        return self

    def __exit__(self, *_: object) -> None:
        counts = {outcome.value: self._outcomes[outcome] for outcome in Outcome}
        self._write("summary", **counts, seconds=round(time.monotonic() - self._began, 3))

    def progress_of(self, job: Job) -> Progress | None:
        """Return nothing: lines are for results."""
        del job

    def add(self, result: JobResult) -> None:
        """Write how a job ended."""
        self._outcomes[result.outcome] += 1
        said: dict[str, Any] = {
            "source": with_names(name_of(result.job.source), self._names),
            "destination": name_of(result.job.destination),
        }
        said |= {"outcome": result.outcome.value, "seconds": round(result.duration_s, 3)}
        said["notes"] = list(result.notes)
        if result.error is not None:
            said |= {"code": type(result.error).__name__, "error": with_names(str(result.error), self._names)}
        self._write("file", **said)

    @staticmethod
    def _write(event: str, **said: Any) -> None:
        # ASCII: names may hold what no encoding has.
        sys.stdout.write(json.dumps({"event": event, **said}) + "\n")
        sys.stdout.flush()


def make_report(
    plan: JobPlan,
    estimate: Estimate | None,
    *,
    models: Sequence[str],
    computed_by: str,
    is_json: bool,
    is_quiet: bool,
    output: Output,
    names: Mapping[Path, str],
) -> Report:
    """Choose the report of a run."""
    if is_json:
        return JsonReport(plan, estimate, models=models, computed_by=computed_by, names=names)
    return TextReport(plan, estimate, is_quiet=is_quiet, output=output, names=names)


def describe(estimate: Estimate, num_files: int) -> str:
    """Say how much work is ahead."""
    sizes = f"{estimate.input_px / 1e6:,.1f} to {estimate.output_px / 1e6:,.1f} megapixels"
    tiles = count(estimate.num_tiles, "tile")
    return f"{count(num_files, 'file')}, {sizes}, {tiles}, about {duration(estimate.seconds)}"


def count(number: int, thing: str) -> str:
    """Say how many there are of a thing."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def with_flag(error: SwinIRError) -> str:
    """Say an error, and the option that allows what it refuses."""
    text = str(error)
    text = text.replace("or allow overwriting", "or allow overwriting (--overwrite)")
    return text.replace("(update)", "(--update)")
