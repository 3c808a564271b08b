"""PyTorch's idle threads leave the cores to others, unless the user says how they wait."""

import os
import subprocess
import sys

import pytest

from swinir.cores import share_cores


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_what_the_environment_says_stays(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], count: str | None
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == count
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)


def test_the_command_says_it_before_torch_is_loaded() -> None:
    code = (
        "import sys, os; import swinir.cli.main as m; assert 'torch' not in sys.modules; "
        "assert 'GOMP_SPINCOUNT' not in os.environ; m.main(['--version']); print(os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {
        name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    }
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "5000"
