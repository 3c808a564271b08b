"""Check that a wheel has all that the package needs, and that its library computes: python check_wheel.py WHEEL."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LIBRARY = "swinir/ops/libswinir_cpu.so"
SOURCES = Path(__file__).resolve().parent.parent / "src"
# Run from the unpacked wheel, with the installed packages that it depends on.
RESTORE = """
import numpy as np
import swinir
restorer = swinir.Restorer.from_pretrained("lightweight-x2", device="cpu")
assert restorer(np.zeros((9, 8, 3), dtype=np.uint8)).shape == (18, 16, 3)
print(swinir.__file__, restorer.describe()["backend"])
"""


def main(wheel: Path) -> None:
    """Raise an error that names what is wrong with ``wheel``."""
    _, _, python, abi, platform = wheel.stem.split("-")
    assert (python, abi) == ("py3", "none"), f"{wheel.name} is made for one Python alone"
    assert platform.startswith("manylinux"), f"{wheel.name} is not for other machines"
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        found = {name for name in archive.namelist() if not name.endswith("/") and ".dist-info/" not in name}
        wanted = {
            path.relative_to(SOURCES).as_posix()
            for path in SOURCES.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        } | {LIBRARY}
        assert found == wanted, f"missing {sorted(wanted - found)}, too many {sorted(found - wanted)}"
        archive.extractall(folder)
        used = subprocess.run(
            [sys.executable, "-c", RESTORE],
            env=os.environ | {"PYTHONPATH": folder},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        assert Path(used[0]).is_relative_to(folder), f"{used[0]} ran in place of the wheel"
        assert used[1].startswith("cpu-"), f"the library in the wheel is not used, but {used[1]}"
    print(f"{wheel} is complete and computes with {used[1]}")


main(Path(sys.argv[1]))
