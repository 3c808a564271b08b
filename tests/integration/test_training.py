"""Whole runs of a tiny network: they learn, stop, go on to the bit, and say what stands in the way."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from runs import CPU, TINY, entries, leaves, recipe_in, run_in
from swinir.engine import Restorer
from swinir.errors import DataError, TrainingError
from swinir.evaluation import EvaluationSet, evaluate
from swinir.model import VARIANTS, SwinIR, SwinIRConfig
from swinir.training import preparation, trainer
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.weights import save_checkpoint
from swinir.weights.checkpoint import read_checkpoint


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """End the next run as Ctrl-C does, in the step after this many."""
    real, done = trainer.train_step, []

    def step(*inputs):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return real(*inputs)

    monkeypatch.setattr(trainer, "train_step", step)


@pytest.mark.parametrize(
    "changes",
    [("run.precision=fp32", "optimizer.kind=muon"), ("run.precision=bf16",)],
    ids=["fp32-muon", "bf16-adam"],
)
def test_a_run_that_was_interrupted_and_resumed_is_the_same_to_the_bit(place, monkeypatch, changes):
    run_in(place, *changes, f"run.folder={place}/whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 8)
        with pytest.raises(KeyboardInterrupt):
            run_in(place, *changes)
    stopped = torch.load(place / "run" / "state.pt", weights_only=True)
    assert stopped["step"] == 5
    run_in(place, *changes, resume=True)

    whole = leaves(torch.load(place / "whole" / "state.pt", weights_only=True))
    resumed = leaves(torch.load(place / "run" / "state.pt", weights_only=True))
    assert whole.keys() == resumed.keys()
    assert {key.split("/")[1] for key in whole} >= {"model", "ema", "optimizer", "step"}
    num_matrices = sum(len(value) for key, value in whole.items() if key.startswith("/muon/"))
    num_parameters = sum(key.startswith("/model/") for key in whole)
    assert sum("exp_avg_sq" in key for key in whole) + num_matrices == num_parameters
    assert [key for key in whole if not torch.equal(whole[key], resumed[key])] == []


def test_the_log_of_a_resumed_run_reads_like_that_of_an_uninterrupted_one(place, monkeypatch):
    run_in(place, f"run.folder={place}/whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 9)
        with pytest.raises(KeyboardInterrupt):
            run_in(place)
    # Killed in the middle of a line.
    with (place / "run" / "log.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')
    run_in(place, resume=True)

    def timeless(run: Path) -> list[dict[str, float]]:
        return [
            {key: value for key, value in entry.items() if not key.endswith("crops_per_s")}
            for entry in entries(run)
        ]

    assert timeless(place / "run") == timeless(place / "whole")
    assert [entry["step"] for entry in entries(place / "run")] == [2, 4, 5, 6, 8, 10, 10]


def test_every_step_has_its_own_batch(place, monkeypatch):
    real, drawn = preparation.CropLoader.batch, []

    def batch(loader, step):
        drawn.append(step)
        return real(loader, step)

    monkeypatch.setattr(preparation.CropLoader, "batch", batch)
    run_in(place, "optimizer.steps=4", "model.fit_reconstruction=true", "data.batch_size=512")
    # The fit of the reconstruction takes batches before the first.
    assert drawn == [-1, -2, -3, -4, 0, 1, 2, 3]


def test_a_run_learns(place):
    run_in(place, "optimizer.steps=80", "run.log_every=1", "data.validation={}")
    losses = [entry["loss"] for entry in entries(place / "run")]
    assert len(losses) == 80
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])


def test_one_step_does_what_its_parts_say(place):
    """One step of Adam without decay moves every parameter by the rate, whatever the gradient."""
    recipe = recipe_in(place, "optimizer.gradient_clip=0")
    loader = preparation.CropLoader.from_folder(
        recipe.data.train, channels=3, scale=2, crop_px=8, batch_size=4, seed=0, device=CPU
    )
    state = preparation.create_state(recipe, CPU)
    before = {name: value.detach().clone() for name, value in state.model.named_parameters()}
    state.set_learning_rates(1e-3)
    options = preparation.StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.75)
    objective = preparation.Objective(pixel=preparation.l1)
    metrics = trainer.train_step(state, loader.batch(0), objective, options)
    assert metrics.loss > 0
    assert metrics.gradient_norm > 0
    for name, value in state.model.named_parameters():
        moved = value.detach() - before[name]
        assert moved.abs().max() == pytest.approx(1e-3, rel=0.02)
        assert torch.allclose(state.ema[name], before[name] + 0.25 * moved, atol=1e-7)
        assert value.grad is None


def test_a_recipe_without_validation_makes_weights(place):
    recipe = place / "recipe.toml"
    lines = recipe.read_text(encoding="utf-8").splitlines()
    bare = "\n".join(line for line in lines if not line.startswith("validation"))
    recipe.write_text(bare, encoding="utf-8")
    assert run_in(place, "optimizer.steps=1").is_file()


def test_validation_figures_are_those_of_evaluate_on_the_file(place):
    weights = run_in(place)
    (logged,) = [entry for entry in entries(place / "run") if entry["step"] == 10 and "psnr_db/Val" in entry]
    restorer = Restorer.from_pretrained(weights, device="cpu", precision="fp32", tile=None)
    report = evaluate(restorer, EvaluationSet(name="Val", folder=place / "val"))
    assert logged["psnr_db/Val"] == report.psnr_db


def test_the_file_of_weights_says_how_it_was_made(place):
    checkpoint = read_checkpoint(run_in(place))
    assert checkpoint.config == TINY
    assert checkpoint.metadata["steps"] == "10"
    assert json.loads(checkpoint.metadata["recipe"])["optimizer"]["learning_rate"] == 2e-3
    state = torch.load(place / "run" / "state.pt", weights_only=True)
    assert all(torch.equal(checkpoint.state_dict[name], value) for name, value in state["ema"].items())


def test_a_state_of_the_lightweight_network_is_small_enough_to_be_moved(tmp_path):
    recipe = OptimizerRecipe(steps=1, learning_rate=1e-3)
    state = TrainState.create(VARIANTS["lightweight-x4"], recipe, seed=0, device=CPU, dtype=torch.float32)
    state.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 16e6


DEGRADATIONS = {
    "noise": ("model.variant=tiny-clean", "degradation.kind=noise", "degradation.sigma=[0, 50]"),
    "jpeg": ("model.variant=tiny-clean", "degradation.kind=jpeg", "degradation.quality=[10, 95]"),
    "bsrgan": ("degradation.kind=bsrgan", "data.crop_px=8"),
    "real-world": ("degradation.kind=real-world", "data.crop_px=8"),
}


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_every_degradation_trains_and_is_validated_on_itself(place, kind):
    weights = run_in(place, *DEGRADATIONS[kind], "optimizer.steps=4", "run.evaluate_every=2")
    logged = [entry["psnr_db/Val"] for entry in entries(place / "run") if "psnr_db/Val" in entry]
    # The same pictures, spoiled in the same way, by other weights.
    assert len(logged) == 2
    assert all(5 < psnr_db < 60 for psnr_db in logged)
    assert weights.is_file()


def test_the_best_weights_are_kept(place, monkeypatch):
    figures = iter([30.0, 32.0, 31.0, 31.5, 29.0])
    monkeypatch.setattr(trainer, "validate", lambda *_: ({"psnr_db/Val": next(figures)}, []))
    run_in(place, "run.evaluate_every=2", "run.save_every=2")
    assert read_checkpoint(place / "run" / "best.safetensors").metadata["steps"] == "4"
    assert read_checkpoint(place / "run" / "last.safetensors").metadata["steps"] == "10"


def test_the_best_is_remembered_over_an_interruption(place, monkeypatch):
    figures = iter([30.0, 32.0, 31.0, 31.5, 29.0])
    monkeypatch.setattr(trainer, "validate", lambda *_: ({"psnr_db/Val": next(figures)}, []))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run_in(place, "run.evaluate_every=2", "run.save_every=2")
    run_in(place, "run.evaluate_every=2", "run.save_every=2", resume=True)
    assert read_checkpoint(place / "run" / "best.safetensors").metadata["steps"] == "4"


def test_tensorboard_shows_the_numbers_of_the_log(place):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run_in(place)
    shown = events.EventAccumulator(str(place / "run"))
    shown.Reload()
    assert set(shown.Tags()["scalars"]) == {
        "loss",
        "gradient_norm",
        "learning_rate",
        "crops_per_s",
        "loader_crops_per_s",
        "psnr_db/Val",
    }
    logged = {entry["step"]: entry["loss"] for entry in entries(place / "run") if "loss" in entry}
    assert {event.step: event.value for event in shown.Scalars("loss")} == pytest.approx(logged)


def test_a_run_is_not_started_over_another(place):
    run_in(place, "optimizer.steps=1")
    before = (place / "run" / "state.pt").read_bytes()
    with pytest.raises(TrainingError, match="holds a run already: add --resume"):
        run_in(place)
    assert (place / "run" / "state.pt").read_bytes() == before


def test_there_must_be_a_run_to_resume(place):
    with pytest.raises(TrainingError, match="no run to resume"):
        run_in(place, resume=True)
    assert not (place / "run").exists()


def test_resuming_a_finished_run_changes_nothing(place):
    weights = run_in(place)
    before = weights.read_bytes()
    assert run_in(place, resume=True).read_bytes() == before


def test_a_wrong_validation_folder_is_told_before_the_first_step(place):
    with pytest.raises(DataError, match="nowhere"):
        run_in(place, "data.validation.Other=nowhere")
    assert not (place / "run").exists()


@pytest.mark.parametrize("every", ["run.log_every=1", "run.log_every=100"])
def test_a_loss_that_is_not_finite_ends_the_run_before_anything_unsound_is_saved(place, every):
    broken = "optimizer.learning_rate=1e30"
    with pytest.raises(TrainingError, match=r"4 steps in a row .* the loss is (nan|inf).*learning_rate"):
        run_in(place, broken, "optimizer.nan_limit=3", "data.validation={}", every, "run.save_every=1")
    state = leaves(torch.load(place / "run" / "state.pt", weights_only=True))
    assert all(value.isfinite().all() for value in state.values())


def test_an_interruption_while_saving_leaves_the_state_before(place, monkeypatch):
    real, saved = torch.save, []

    def halfway(contents, file):
        saved.append(1)
        if len(saved) == 2:
            file.write(b"PK half of it")
            raise KeyboardInterrupt
        real(contents, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", halfway)
        with pytest.raises(KeyboardInterrupt):
            run_in(place)
    assert list((place / "run").glob(".*")) == []
    assert torch.load(place / "run" / "state.pt", weights_only=True)["step"] == 5
    run_in(place, resume=True)
    assert torch.load(place / "run" / "state.pt", weights_only=True)["step"] == 10


def a_state(place: Path) -> tuple[TrainState, Path]:
    state = preparation.create_state(recipe_in(place), CPU)
    path = place / "state.pt"
    state.save(path)
    return state, path


DAMAGES = {
    "empty": lambda data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "tail": lambda data: data[:-30],
    "text": lambda data: b"hello, this is no state",
    "pickle": lambda data: b"\x80\x02}q\x00.",
    "flipped": lambda data: data[:200] + bytes(255 - byte for byte in data[200:400]) + data[400:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_one_error(place, damage):
    state, path = a_state(place)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(TrainingError, match=r"state\.pt holds no state of a run"):
        state.load(path)


CHANGES = {
    "no optimizer": lambda contents: contents.pop("optimizer"),
    "no moments": lambda contents: contents["optimizer"].update(state={}),
    "a foreign optimizer": lambda contents: contents["optimizer"].update(
        state={n: {"momentum_buffer": torch.zeros(1)} for n in range(100)}
    ),
    "no average": lambda contents: contents.pop("ema"),
    "a missing parameter": lambda contents: contents["model"].pop("conv_first.weight"),
    "another shape": lambda contents: contents["model"].update({"conv_first.bias": torch.zeros(1)}),
    "no tensor": lambda contents: contents["model"].update({"conv_first.bias": "zero"}),
    "no step": lambda contents: contents.update(step=None),
    "no configuration": lambda contents: contents.update(config=[1, 2]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_state_that_lacks_something_is_one_error(place, change):
    state, path = a_state(place)
    contents = torch.load(path, weights_only=True)
    CHANGES[change](contents)
    torch.save(contents, path)
    with pytest.raises(TrainingError, match=r"state\.pt holds no state of a run"):
        state.load(path)


def test_a_state_of_another_network_is_told_from_damage(place, monkeypatch):
    _, path = a_state(place)
    monkeypatch.setattr(
        "swinir.training.recipe.VARIANTS", {"tiny": SwinIRConfig(**{**vars(TINY), "scale": 3})}
    )
    other = preparation.create_state(recipe_in(place), CPU)
    with pytest.raises(TrainingError, match=r"another network: it holds .*scale=2.*asks for .*scale=3"):
        other.load(path)


def test_a_resumed_run_takes_its_rates_from_the_recipe(place):
    _, path = a_state(place)
    state = preparation.create_state(recipe_in(place, "optimizer.betas=[0.8, 0.9]"), CPU)
    moments = [slots["exp_avg"] for slots in state.optimizer.state.values()]
    state.load(path)
    assert state.optimizer.param_groups[0]["betas"] == (0.8, 0.9)
    assert all(
        slots["exp_avg"] is own for slots, own in zip(state.optimizer.state.values(), moments, strict=True)
    )


def test_a_seed_decides_the_first_parameters_and_leaves_the_global_generator_alone(place):
    before = torch.random.get_rng_state()
    one, same = (preparation.create_state(recipe_in(place), CPU) for _ in range(2))
    other = preparation.create_state(recipe_in(place, "run.seed=4"), CPU)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(one.model.conv_first.weight, same.model.conv_first.weight)
    assert not torch.equal(one.model.conv_first.weight, other.model.conv_first.weight)


def test_another_scale_starts_from_the_same_body(place, monkeypatch):
    weights = run_in(place)
    monkeypatch.setattr(
        "swinir.training.recipe.VARIANTS", {"tiny": SwinIRConfig(**{**vars(TINY), "scale": 3})}
    )
    recipe = recipe_in(place, f"model.start_from={weights}")
    loader = preparation.CropLoader.from_folder(
        recipe.data.train, channels=3, scale=3, crop_px=8, batch_size=4, seed=0, device=CPU
    )
    state = preparation.initial_state(recipe, loader, CPU)
    _, taken = preparation.load_checkpoint(weights)
    own = state.model.state_dict()
    differing = [name for name in own if own[name].shape != taken[name].shape]
    assert differing == ["upsample.0.weight", "upsample.0.bias"]
    assert all(torch.equal(own[name], taken[name]) for name in own if name not in differing)


def test_a_model_of_which_nothing_fits_is_no_start(place):
    other = replace(TINY, embed_dim=16, window_size=8)
    save_checkpoint(place / "other.safetensors", other, SwinIR(other).state_dict())
    with pytest.raises(TrainingError, match=r"it holds .*embed_dim=16.*asks for .*embed_dim=12"):
        run_in(place, f"model.start_from={place}/other.safetensors")
    assert not (place / "run").exists()


def test_a_fitted_start_is_better_than_none(place):
    run_in(place, "optimizer.steps=1", f"run.folder={place}/plain", "optimizer.learning_rate=1e-9")
    run_in(
        place,
        "optimizer.steps=1",
        f"run.folder={place}/fitted",
        "optimizer.learning_rate=1e-9",
        "model.fit_reconstruction=true",
        "data.batch_size=32",
    )
    plain_db, fitted_db = (entries(place / name)[-1]["psnr_db/Val"] for name in ("plain", "fitted"))
    assert math.isfinite(fitted_db)
    assert fitted_db > plain_db + 10
