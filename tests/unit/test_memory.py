"""What memory there is, and what a shortage is known by."""

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from swinir.engine import memory
from swinir.errors import RestoreError

CPU = torch.device("cpu")
GIB = 2**30


def test_free_memory_of_a_machine_is_what_can_be_had_without_swapping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        psutil, "virtual_memory", lambda: SimpleNamespace(total=8 * GIB, free=1, available=3 * GIB)
    )
    monkeypatch.setattr(memory, "groups_of_process", lambda *_: [])
    assert memory.available_bytes(CPU) == 3 * GIB
    monkeypatch.setattr(memory, "groups_of_process", lambda *_: [Path("one")])
    monkeypatch.setattr(memory, "free_of_group", lambda _: 2 * GIB)
    assert memory.available_bytes(CPU) == 2 * GIB


@pytest.mark.parametrize(
    ("limit", "used", "cache"),
    [
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_free_memory_of_a_container_is_its_limit_less_use_plus_idle_cache(
    tmp_path: Path, limit: str, used: str, cache: str
) -> None:
    (tmp_path / limit).write_text(f"{4 * GIB}\n")
    (tmp_path / used).write_text(f"{3 * GIB}\n")
    (tmp_path / "memory.stat").write_text(f"anon 5\n{cache} {GIB}\n")
    assert memory.free_of_group(tmp_path) == 2 * GIB


def test_container_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_of_group(tmp_path) == sys.maxsize


def test_limits_of_the_groups_around_a_process_count(tmp_path: Path) -> None:
    membership = tmp_path / "cgroup"
    membership.write_text("0::/outer/inner\n")
    groups = memory.groups_of_process(Path("/root"), membership)
    assert {Path("/root/outer/inner"), Path("/root/outer"), Path("/root")} <= set(groups)


def test_free_memory_of_this_machine_is_known() -> None:
    assert 0 < memory.available_bytes(CPU) < 2**50


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory",
        "Triton Error [CUDA]: out of memory",
        "could not create a primitive",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_shortages_of_libraries_are_known_by_their_texts(text: str) -> None:
    assert memory.is_out_of_memory(RuntimeError(text))


def test_other_errors_are_not_taken_for_a_shortage() -> None:
    with pytest.raises(RuntimeError, match="mat1"):
        memory.shortage_in(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_a_shortage_holds_no_frames() -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError) as caught:
        fail()
    assert memory.shortage_in(caught.value).__traceback__ is None


def test_shortage_with_nothing_smaller_to_try_names_the_device() -> None:
    with (
        pytest.raises(RestoreError, match="not enough memory on cuda:1"),
        memory.oom_as_restore_error(torch.device("cuda:1")),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="mat1"), memory.oom_as_restore_error(CPU):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
