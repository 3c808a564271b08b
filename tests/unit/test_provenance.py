"""Where figures come from."""

import json
from datetime import datetime
from pathlib import Path

import swinir
from swinir.provenance import find_commit, find_version, read_cpu_model, read_provenance


def test_the_processor_is_named_as_its_maker_does(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Fast Chip 9000\n")
    assert read_cpu_model(cpuinfo) == "Fast Chip 9000"
    assert read_cpu_model(tmp_path / "missing")


def test_code_outside_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert find_commit(tmp_path) is None


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert find_version("no-such-package") is None


def test_provenance_is_json_with_version_and_date() -> None:
    found = json.loads(json.dumps(read_provenance().to_dict()))
    assert found["version"] == swinir.__version__
    assert datetime.fromisoformat(found["date"]).utcoffset() is not None
    assert found["cores"] >= 1
