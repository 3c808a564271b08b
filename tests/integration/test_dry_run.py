"""What a run would be, told without writing anything, and what stands in its way, told before it begins."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from runs import (
    CPU,
    TINY,
    TINY_VARIANTS,
    VARIANTS_OF_RECIPES,
    losses,
    recipe_in,
    run_in,
    save_picture,
    state_of,
)
from swinir.cli.main import main
from swinir.errors import DataError
from swinir.training import estimate_run


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def dry_run(place: Path, *changes: str) -> int:
    return main(["train", str(place / "recipe.toml"), *changes, "--dry-run", "--device", "cpu"])


def told(text: str) -> dict[str, str]:
    """Read the lines of a plan as names and values."""
    return {line[:12].strip(): line[13:] for line in text.splitlines()}


def test_a_dry_run_shows_the_plan_and_writes_nothing(place, capsys):
    before = files_below(place)
    assert dry_run(place, "optimizer.accumulate=2") == 0
    lines = told(capsys.readouterr().out)
    num_parameters = sum(value.numel() for value in planned_state(place).values())
    assert lines["network"] == f"tiny, {num_parameters:,} parameters, from scratch"
    assert lines["backend"].partition(":")[0]
    assert lines["pictures"] == f"0.0 megapixels of {place}/train"
    assert lines["degradation"] == "bicubic"
    assert lines["batch"] == "4 crops of 8×8, in 2 parts"
    assert lines["steps"] == "10 (40 crops)"
    assert lines["rate"] == "0.002, cosine, 2 steps of warm-up"
    assert lines["precision"] == "float32 on cpu"
    assert re.fullmatch(r"[\d,]+ MiB at the peak", lines["memory"])
    assert re.fullmatch(r"[\d,]+ crops/s", lines["loader"])
    assert re.fullmatch(r"[\d.e-]+ s, [\d.,]+ crops/s", lines["step"])
    assert lines["hours"] == "0.00"
    assert lines["folder"] == f"{place}/run"
    assert files_below(place) == before
    assert not (place / "run").exists()


def planned_state(place: Path) -> dict[str, torch.Tensor]:
    from swinir.training import preparation

    return dict(preparation.create_state(recipe_in(place), CPU).model.named_parameters())


def test_a_plan_counts_what_a_run_takes(place):
    plan = estimate_run(recipe_in(place, "optimizer.steps=36000"), CPU)
    assert plan.hours == pytest.approx(10 * plan.step_s)
    assert plan.num_crops == 144_000
    assert plan.num_megapixels == pytest.approx(3 * 40 * 48 / 1e6)
    assert plan.peak_bytes > 50 * 2**20
    run_in(place, "optimizer.steps=1", "data.validation={}")
    file_bytes = (place / "run" / "state.pt").stat().st_size
    # The file holds names and sizes besides, the more the smaller the network.
    assert 0.4 * file_bytes < plan.state_bytes < file_bytes


def test_a_dry_run_leaves_a_run_that_is_there_as_it_is(place):
    run_in(place, "optimizer.steps=2", "data.validation={}")
    before = files_below(place)
    assert dry_run(place) == 0
    assert files_below(place) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("data.train=nowhere", "nowhere"),
        ("data.validation.Val=nowhere", "nowhere"),
        ("data.validation.Val={}/empty", "empty"),
        (
            "data.crop_px=40",
            r"no picture of .*train can be used, 3 are smaller than 80×80 pixels: .* data\.crop_px",
        ),
        ("model.start_from=nothing-like-it", "nothing-like-it"),
        ("data.bach_size=3", "unknown key 'data.bach_size' .* did you mean 'batch_size'"),
    ],
)
def test_a_dry_run_names_what_would_stand_in_the_way(place, capsys, change, named):
    (place / "empty").mkdir()
    assert dry_run(place, change.format(place)) in (1, 2)
    captured = capsys.readouterr()
    assert re.search(named, captured.err)
    assert captured.out == ""


def test_a_validation_folder_without_pictures_is_named_before_the_run_begins(place):
    (place / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image in .*empty"):
        run_in(place, f"data.validation.Other={place}/empty")
    assert not (place / "run").exists()


def test_an_unreadable_picture_of_validation_is_named(place):
    save_picture(place / "other" / "good.png", 32, 26, 1)
    (place / "other" / "bad.png").write_bytes((place / "other" / "good.png").read_bytes()[:90])
    with pytest.raises(DataError, match=r"bad\.png"):
        run_in(place, f"data.validation.Val={place}/other")


# PyTorch's compiler warns of parts of itself.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
# What is traced is ours; what C++ is made of it is PyTorch's, and takes a minute.
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_a_compiled_network_makes_the_losses_of_an_eager_one(place, monkeypatch, backend):
    monkeypatch.setattr(
        VARIANTS_OF_RECIPES, {**TINY_VARIANTS, "tiny": replace(TINY, depths=(1,), num_heads=(2,))}
    )
    compiled = []

    def compile_with(network, real=torch.compile):
        compiled.append(network)
        return real(network, backend=backend)

    monkeypatch.setattr(torch, "compile", compile_with)
    # What other tests have compiled makes sizes of this one symbols.
    torch._dynamo.reset()
    changes = ("optimizer.steps=4", "run.log_every=1", "data.validation={}")
    run_in(place, *changes, f"run.folder={place}/eager")
    assert compiled == []
    run_in(place, *changes, "run.compilation=on")
    assert len(compiled) == 1
    assert losses(place / "run") == pytest.approx(losses(place / "eager"), rel=1e-5)
    # Compiled or not, a run's state is the same file.
    assert state_of(place / "run").keys() == state_of(place / "eager").keys()
