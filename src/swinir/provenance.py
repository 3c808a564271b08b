"""Where a figure comes from: version, commit, date, processor and packages; for reports, cards and logs."""

import os
import platform
import shutil
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Here, on the ground floor, so that nothing imports upwards for it.
__version__ = "0.1.0"
_CPUINFO = Path("/proc/cpuinfo")
# The hash of a commit, long enough to be the only one.
_COMMIT_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What a reader must know to trust a figure, and to measure it again.

    Attributes:
        version: of this package.
        commit: of its checkout, "+" behind it where files differ; None where it is installed.
        date: when it was measured: ISO 8601, UTC; "" where it is left out.
        cpu: the processor as its maker names it.
        cores: how many this process may use.
        capability: the widest vector instructions that PyTorch uses here.
        python: version.
        torch: version.
        numpy: version.
        system: operating system and architecture.
    """

    version: str
    commit: str | None
    date: str
    cpu: str
    cores: int
    capability: str
    python: str
    torch: str
    numpy: str
    system: str

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return asdict(self)


def read_provenance() -> Provenance:
    """Look at this machine, these packages and this checkout, now."""
    import torch  # noqa: PLC0415  slow to import, and most who import this module never ask

    return Provenance(
        version=__version__,
        commit=find_commit(Path(__file__).parent),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        cpu=read_cpu_model(),
        cores=count_cores(),
        capability=torch.backends.cpu.get_cpu_capability(),
        python=platform.python_version(),
        torch=torch.__version__,
        numpy=find_version("numpy") or "unknown",
        system=f"{platform.system()} {platform.machine()}",
    )


def read_cpu_model(cpuinfo: Path = _CPUINFO) -> str:
    """Return the processor's name as its maker gives it, or at least its architecture."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def count_cores() -> int:
    """Count the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_version(package: str) -> str | None:
    """Return the version of an installed package; None where it is not installed."""
    from importlib import metadata  # noqa: PLC0415  slow to import, and `swinir --version` needs none of it

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def find_commit(folder: Path) -> str | None:
    """Return the commit that ``folder``'s code comes from, "+" behind it where files differ; None if installed."""
    # An environment inside somebody else's repository has a commit around it too, but not its own.
    if _run_git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _run_git(folder, "rev-parse", f"--short={_COMMIT_DIGITS}", "HEAD")
    if commit is None:
        return None
    changes = _run_git(folder, "status", "--porcelain", "--untracked-files=no", ":/")
    return commit + ("+" if changes else "")


def _run_git(folder: Path, *arguments: str) -> str | None:
    """Run git in a folder; None where it is missing or fails."""
    import subprocess  # noqa: PLC0415  as above

    if (git := shutil.which("git")) is None:
        return None
    done = subprocess.run([git, "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
