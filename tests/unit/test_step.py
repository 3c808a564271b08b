"""One training step: gradients of the whole batch, steps that are left out, branches that are, and two opponents."""

import math

import pytest
import torch
from torch import Tensor

from runs import CPU, TINY, differing, recipe_in, run_in, state_of
from swinir.data import Batch
from swinir.errors import TrainingError
from swinir.model import SwinIR
from swinir.model.blocks import SwinTransformerBlock
from swinir.ops import REFERENCE, Backend
from swinir.training import preparation, trainer
from swinir.training.losses import l1
from swinir.training.recipe import OptimizerRecipe
from swinir.training.state import TrainState
from swinir.training.step import (
    Objective,
    StepOptions,
    draw_drop_path,
    set_drop_path_scales,
    train_step,
)

OPTIONS = StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.9)
PIXELS = Objective(pixel=l1)
GAN = Objective(pixel=l1, gan_weight=0.1)


def batch_of(seed: int, size: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    lq = torch.rand(size, 3, 8, 8, generator=generator)
    return Batch(lq=lq, hq=torch.rand(size, 3, 16, 16, generator=generator))


def spoiled(batch: Batch) -> Batch:
    lq = batch.lq.clone()
    lq[0, 0, 3, 3] = math.nan
    return Batch(lq=lq, hq=batch.hq)


def a_state(*, has_adversary: bool = False) -> TrainState:
    optimizer = OptimizerRecipe(steps=10, learning_rate=1e-3)
    state = TrainState.create(
        TINY, optimizer, seed=0, device=CPU, dtype=torch.float32, has_adversary=has_adversary
    )
    state.set_learning_rates(1e-3, discriminator=1e-3)
    return state


def parameters(network: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def moments(optimizer: torch.optim.Adam) -> dict[str, Tensor]:
    slots = enumerate(optimizer.state.values())
    return {f"{n}/{name}": value.clone() for n, slot in slots for name, value in slot.items()}


def everything(state: TrainState) -> dict[str, Tensor]:
    """Copy what a step that is left out must leave alone."""
    copies = {**parameters(state.model), **moments(state.optimizer)}
    if state.adversary is not None:
        copies |= {f"judge/{k}": v for k, v in parameters(state.adversary.discriminator).items()}
        copies |= {f"judge/{k}": v for k, v in moments(state.adversary.optimizer).items()}
    return copies


@pytest.mark.parametrize("objective", [PIXELS, GAN], ids=["pixels", "gan"])
def test_a_step_that_is_not_finite_changes_no_parameter_and_no_moment(objective):
    state = a_state(has_adversary=objective is GAN)
    train_step(state, batch_of(1), objective, OPTIONS)
    before = everything(state)
    metrics = train_step(state, spoiled(batch_of(2)), objective, OPTIONS)
    assert not metrics.loss.isfinite()
    assert differing(everything(state), before) == []
    assert all(value.isfinite().all() for value in state.ema.values())


def test_after_a_step_left_out_the_next_is_as_if_it_had_not_been():
    disturbed, calm = a_state(), a_state()
    train_step(disturbed, spoiled(batch_of(0)), PIXELS, OPTIONS)
    for state in (disturbed, calm):
        for seed in (1, 2):
            train_step(state, batch_of(seed), PIXELS, OPTIONS)
    assert differing(everything(disturbed), everything(calm)) == []


def test_steps_left_out_are_counted_in_all_and_in_a_row():
    state = a_state()
    counts = []
    for is_bad in (True, True, False, True):
        train_step(state, spoiled(batch_of(0)) if is_bad else batch_of(0), PIXELS, OPTIONS)
        counts.append(state.skipped.tolist())
    assert counts == [[1, 1], [2, 2], [2, 0], [3, 1]]


def test_an_infinite_part_of_an_accumulated_batch_leaves_out_the_whole_step():
    state = a_state()
    before = everything(state)
    accumulated = StepOptions(dtype=torch.float32, gradient_clip=0.5, ema_decay=0.9, accumulate=4)
    train_step(state, spoiled(batch_of(0)), PIXELS, accumulated)
    assert differing(everything(state), before) == []
    assert state.skipped.tolist() == [1, 1]


def spoil_steps(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Have the loader make batches with NaN for these steps."""
    real = preparation.CropLoader.batch

    def batch(loader, step):
        return spoiled(real(loader, step)) if step in steps else real(loader, step)

    monkeypatch.setattr(preparation.CropLoader, "batch", batch)


def test_a_run_goes_on_after_as_many_bad_steps_as_it_may_have(place, monkeypatch):
    spoil_steps(monkeypatch, {1, 2, 4})
    run_in(place, "optimizer.nan_limit=2", "optimizer.steps=6", "data.validation={}")
    state = state_of(place / "run")
    assert state["/skipped"].tolist() == [3, 0]
    assert all(value.isfinite().all() for value in state.values())


def test_one_more_bad_step_in_a_row_ends_the_run_with_the_state_before_it(place, monkeypatch):
    spoil_steps(monkeypatch, {3, 4, 5})
    with pytest.raises(TrainingError, match=r"3 steps in a row were not finite, the loss is nan .* lower"):
        run_in(place, "optimizer.nan_limit=2", "run.save_every=1", "data.validation={}")
    state = state_of(place / "run")
    assert state["/step"] == 3
    assert all(value.isfinite().all() for value in state.values())


def gradient(state: TrainState, batch: Batch, objective: Objective, options: StepOptions) -> Tensor:
    """Take the whole gradient of a step; the first moment of Adam after one step is 1 - beta of it."""
    train_step(state, batch, objective, options)
    return torch.cat([slot["exp_avg"].flatten() for slot in state.optimizer.state.values()]) / (1 - 0.9)


@pytest.mark.parametrize("clip", [0.0, 1e-3])
def test_accumulated_parts_give_the_gradient_of_the_whole_batch(clip):
    whole, parts = (
        gradient(
            a_state(),
            batch_of(0, size=8),
            PIXELS,
            StepOptions(dtype=torch.float32, gradient_clip=clip, ema_decay=0.9, accumulate=accumulate),
        )
        for accumulate in (1, 4)
    )
    assert (whole - parts).norm() < 1e-6 * whole.norm()
    if clip:
        # Clipped by the norm of the sum and not part by part.
        assert parts.norm() == pytest.approx(clip, rel=1e-3)


def test_accumulated_parts_report_the_loss_of_the_whole_batch():
    accumulated = StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.9, accumulate=4)
    whole = train_step(a_state(), batch_of(0), PIXELS, OPTIONS)
    parts = train_step(a_state(), batch_of(0), PIXELS, accumulated)
    assert parts.loss.item() == pytest.approx(whole.loss.item(), rel=1e-6)
    assert parts.gradient_norm.item() == pytest.approx(whole.gradient_norm.item(), rel=1e-5)


def test_accumulated_parts_keep_the_branches_of_their_crops():
    scales = draw_drop_path(torch.Generator().manual_seed(5), num_layers=2, batch_size=8, drop_path=0.6)
    assert len(set(scales[1].flatten().tolist())) == 2
    results = []
    for accumulate in (1, 4):
        options = StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.9, accumulate=accumulate)
        results.append(train_step(a_state(), batch_of(0, size=8), PIXELS, options, scales))
    assert results[1].loss.item() == pytest.approx(results[0].loss.item(), rel=1e-6)
    assert results[1].gradient_norm.item() == pytest.approx(results[0].gradient_norm.item(), rel=1e-5)


def drawn(drop_path: float, *, seed: int = 0, num_layers: int = 5, batch_size: int = 4000) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return draw_drop_path(generator, num_layers=num_layers, batch_size=batch_size, drop_path=drop_path)


def test_without_chance_every_branch_stays_as_it_is():
    assert torch.equal(drawn(0.0), torch.ones(5, 4000, 2))


def test_a_branch_is_left_out_or_scaled_so_that_its_mean_is_one():
    scales = drawn(0.4)
    for layer, stay in enumerate((1, 0.9, 0.8, 0.7, 0.6)):
        values = scales[layer].unique()
        assert torch.allclose(values, torch.tensor([0, 1 / stay] if layer else [1.0]))
        # 8,000 draws: five standard deviations of the mean.
        assert scales[layer].mean().item() == pytest.approx(
            1, abs=5 * ((1 - stay) / stay / 8000) ** 0.5 + 1e-6
        )


def test_the_first_layer_always_stays_and_deeper_ones_go_more_often():
    left_out = (drawn(0.4) == 0).float().mean(dim=(1, 2))
    assert left_out[0] == 0
    assert (left_out.diff() > 0.05).all()
    assert left_out[-1].item() == pytest.approx(0.4, abs=0.03)


def test_attention_and_mlp_of_a_crop_are_left_out_independently():
    last = drawn(0.5)[-1] == 0
    both = (last[:, 0] & last[:, 1]).float().mean().item()
    assert both == pytest.approx(0.25, abs=0.04)


def recorded(model: SwinIR) -> dict[int, tuple[Tensor, Tensor]]:
    """Have each layer keep what it was given and what it made."""
    kept: dict[int, tuple[Tensor, Tensor]] = {}
    blocks = [module for module in model.modules() if isinstance(module, SwinTransformerBlock)]
    for number, block in enumerate(blocks):

        def keep(_, given, made, number=number):
            kept[number] = (given[0].detach().clone(), made.detach().clone())

        block.register_forward_hook(keep)
    return kept


def forward_with(scales: Tensor | None) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    model = a_state().model
    kept = recorded(model)
    set_drop_path_scales(model, scales)
    return model(batch_of(0).lq).detach(), kept


def test_scales_of_one_change_nothing():
    assert torch.allclose(forward_with(torch.ones(2, 4, 2))[0], forward_with(None)[0], rtol=0, atol=1e-6)


def test_a_scale_of_zero_leaves_out_exactly_that_layer_of_that_crop():
    scales = torch.ones(2, 4, 2)
    scales[1, 2] = 0
    (restored, kept), (plain, plainly) = forward_with(scales), forward_with(None)
    given, made = kept[1]
    assert torch.equal(made[2], given[2])
    assert not torch.equal(plainly[1][1][2], given[2])
    others = [0, 1, 3]
    assert torch.allclose(made[others], plainly[1][1][others], rtol=0, atol=1e-6)
    assert torch.allclose(kept[0][1], plainly[0][1], rtol=0, atol=1e-6)
    assert torch.allclose(restored[others], plain[others], rtol=0, atol=1e-6)
    assert not torch.allclose(restored[2], plain[2], rtol=0, atol=1e-6)


@pytest.mark.parametrize("branch", [0, 1], ids=["attention", "mlp"])
def test_the_first_scale_is_that_of_attention_and_the_second_that_of_the_mlp(branch):
    model = a_state().model
    block = next(module for module in model.modules() if isinstance(module, SwinTransformerBlock))
    x = torch.rand(2, 8, 8, TINY.embed_dim, generator=torch.Generator().manual_seed(1))
    scales = torch.ones(2, 2)
    scales[1, branch] = 0
    block.drop_path_scales = scales
    made = block(x)
    # What a layer computes whose branch ends in zeros.
    block.drop_path_scales = None
    closing = block.attn.proj if branch == 0 else block.mlp.fc2
    plain = block(x)
    torch.nn.init.zeros_(closing.weight)
    torch.nn.init.zeros_(closing.bias)
    without = block(x)
    assert torch.allclose(made[0], plain[0], rtol=0, atol=1e-6)
    assert torch.allclose(made[1], without[1], rtol=0, atol=1e-6)
    assert not torch.allclose(plain[1], without[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scales", [None, torch.ones(2, 4, 2)], ids=["without drop-path", "with drop-path"])
def test_every_layer_of_a_step_is_computed_by_the_backend(scales):
    given = []

    def counted(x, parameters, geometry, drop_path_scales=None):
        given.append(drop_path_scales)
        return REFERENCE.transformer_layer(x, parameters, geometry, drop_path_scales)

    state = a_state()
    state.model.use_backend(Backend(name="counted", reason="a test", transformer_layer=counted))
    train_step(state, batch_of(0), PIXELS, OPTIONS, scales)
    assert [value is None for value in given] == 2 * [scales is None]


def test_a_step_leaves_no_scales_behind():
    state = a_state()
    train_step(state, batch_of(0), PIXELS, OPTIONS, torch.ones(2, 4, 2))
    blocks = [module for module in state.model.modules() if isinstance(module, SwinTransformerBlock)]
    assert [block.drop_path_scales for block in blocks] == [None, None]


def test_a_run_with_stochastic_depth_resumes_to_the_bit(place, monkeypatch):
    changes = ("model.drop_path=0.5", "run.save_every=3", "optimizer.steps=6", "data.validation={}")
    run_in(place, *changes, f"run.folder={place}/whole")
    run_in(place, *changes, f"run.folder={place}/certain", "model.drop_path=0")
    with monkeypatch.context() as patch:
        stop_before(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            run_in(place, *changes)
    run_in(place, *changes, resume=True)
    whole = state_of(place / "whole")
    assert differing(whole, state_of(place / "run")) == []
    assert differing(whole, state_of(place / "certain")) != []


def stop_before(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End the next run as Ctrl-C does, before this step, counted from 0."""
    real = trainer.one_step

    def one_step(stage):
        if stage.state.step == step:
            raise KeyboardInterrupt
        return real(stage)

    monkeypatch.setattr(trainer, "one_step", one_step)


def test_the_judge_learns_from_its_own_loss_alone():
    gradients = []
    for gan_weight in (0.1, 1e6):
        state = a_state(has_adversary=True)
        assert state.adversary is not None
        train_step(state, batch_of(0), Objective(pixel=l1, gan_weight=gan_weight), OPTIONS)
        slots = state.adversary.optimizer.state.values()
        gradients.append(torch.cat([slot["exp_avg"].flatten() for slot in slots]))
    assert gradients[0].norm() > 0
    assert torch.equal(*gradients)


def test_the_network_learns_from_its_judge():
    without = gradient(a_state(), batch_of(0), PIXELS, OPTIONS)
    judged = gradient(a_state(has_adversary=True), batch_of(0), GAN, OPTIONS)
    judged_more = gradient(
        a_state(has_adversary=True), batch_of(0), Objective(pixel=l1, gan_weight=0.2), OPTIONS
    )
    part = judged - without
    assert part.norm() > 0
    assert torch.allclose(judged_more - without, 2 * part, rtol=1e-3, atol=1e-4 * part.abs().max().item())


def test_a_step_with_a_judge_reports_all_losses_and_minimises_those_of_the_network():
    metrics = train_step(a_state(has_adversary=True), batch_of(0), GAN, OPTIONS)
    assert set(metrics.parts) == {"pixel", "gan", "discriminator"}
    expected = metrics.parts["pixel"] + metrics.parts["gan"]
    assert metrics.loss.item() == pytest.approx(expected.item(), rel=1e-6)


def test_accumulated_parts_give_the_judges_gradient_of_the_whole_batch():
    results = []
    for accumulate in (1, 4):
        state = a_state(has_adversary=True)
        assert state.adversary is not None
        options = StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.9, accumulate=accumulate)
        train_step(state, batch_of(0), GAN, options)
        slots = state.adversary.optimizer.state.values()
        results.append(torch.cat([slot["exp_avg"].flatten() for slot in slots]))
    # Every call lets a spectral norm iterate once more: not the same to the bit.
    assert (results[0] - results[1]).norm() < 0.05 * results[0].norm()


def test_the_judge_learns_first_and_leaves_the_network_alone():
    state = a_state(has_adversary=True)
    assert state.adversary is not None
    options = StepOptions(dtype=torch.float32, gradient_clip=0.0, ema_decay=0.9, discriminator_steps_before=2)
    at_first = {**parameters(state.model), **moments(state.optimizer)}
    judge_at_first = parameters(state.adversary.discriminator)
    train_step(state, batch_of(0), GAN, options)
    state.step = 1
    train_step(state, batch_of(1), GAN, options)
    assert differing({**parameters(state.model), **moments(state.optimizer)}, at_first) == []
    assert len(differing(parameters(state.adversary.discriminator), judge_at_first)) > 0
    state.step = 2
    train_step(state, batch_of(2), GAN, options)
    moved = [
        name for name, value in parameters(state.model).items() if not torch.equal(value, at_first[name])
    ]
    assert len(moved) == len(parameters(state.model))


def test_a_run_with_a_judge_resumes_to_the_bit(place, monkeypatch):
    changes = (
        "loss.gan_weight=0.1",
        "loss.discriminator_steps_before=2",
        "optimizer.steps=8",
        "run.save_every=4",
        "data.batch_size=2",
        "data.validation={}",
    )
    run_in(place, *changes, f"run.folder={place}/whole")
    with monkeypatch.context() as patch:
        stop_before(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run_in(place, *changes)
    assert state_of(place / "run")["/step"] == 4
    run_in(place, *changes, resume=True)
    whole = state_of(place / "whole")
    assert any(key.startswith("/discriminator_optimizer/") for key in whole)
    assert differing(whole, state_of(place / "run")) == []


def test_a_state_without_a_judge_continues_no_run_with_one(place):
    recipe = recipe_in(place)
    preparation.create_state(recipe, CPU).save(place / "state.pt")
    with pytest.raises(TrainingError, match=r"without a discriminator.*start a new run"):
        preparation.create_state(recipe_in(place, "loss.gan_weight=0.1"), CPU).load(place / "state.pt")
