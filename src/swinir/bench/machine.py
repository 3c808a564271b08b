"""Where and with what something was measured: processor, versions, commit."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import swinir

_CPUINFO = Path("/proc/cpuinfo")


def describe() -> dict[str, Any]:
    """Tell what a measurement's reader must know of the machine and of the code, as JSON values."""
    return {
        "version": swinir.__version__,
        "commit": commit_of(Path(__file__).parent),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": num_cores(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Name the processor as its maker does, or at least its architecture."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def num_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def commit_of(folder: Path) -> str | None:
    """Name the commit that ``folder``'s code comes from, "+" behind it where files differ; None if installed."""
    # An environment inside somebody else's repository has a commit around it too, but not its own.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", ":/")
    return commit + ("+" if changes else "")


def _git(folder: Path, *words: str) -> str | None:
    """Ask git; None where it is missing or says no."""
    if (git := shutil.which("git")) is None:
        return None
    asked = subprocess.run([git, "-C", str(folder), *words], capture_output=True, text=True, check=False)
    return asked.stdout.strip() if asked.returncode == 0 else None
