"""Muon: orthogonal updates, in batches of equal shapes, and what is left to Adam."""

import pytest
import torch
from torch import nn

from runs import CPU, TINY
from swinir.model import SwinIR
from swinir.training.muon import Muon, orthogonalize, split_parameters
from swinir.training.recipe import OptimizerKind, OptimizerRecipe
from swinir.training.state import TrainState

GOOD, BAD = torch.zeros(()), torch.ones(())
SHAPES = [(6, 4), (4, 6), (6, 4), (5, 5)]


def matrices(seed: int, shapes=SHAPES) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def give_gradients(parameters: list[nn.Parameter], seed: int) -> None:
    for parameter, gradient in zip(parameters, matrices(seed), strict=True):
        parameter.grad = gradient.detach().clone()


def copies(parameters) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in parameters]


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 30, 7), (2, 7, 30), (1, 1, 5)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3


def test_singular_vectors_are_kept():
    generator = torch.Generator().manual_seed(2)
    left, _ = torch.linalg.qr(torch.randn(6, 4, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(4, 4, generator=generator))
    matrix = left @ torch.diag(torch.tensor([9.0, 3.0, 1.0, 0.5])) @ right.T
    turned_back = left.T @ orthogonalize(matrix[None])[0] @ right
    assert torch.allclose(turned_back, torch.diag(turned_back.diagonal()), rtol=0, atol=1e-5)


def test_the_size_of_a_gradient_does_not_matter():
    matrix = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(orthogonalize(1e4 * matrix), orthogonalize(1e-4 * matrix), rtol=0, atol=1e-5)


def test_a_matrix_of_zeros_stays_one():
    assert torch.equal(orthogonalize(torch.zeros(1, 3, 2)), torch.zeros(1, 3, 2))


def test_three_steps_are_those_of_pytorchs_muon():
    ours, theirs = matrices(4), matrices(4)
    muon = Muon(ours, momentum=0.9, weight_decay=0.1)
    muon.learning_rate.fill_(0.02)
    pytorch = torch.optim.Muon(
        theirs, lr=0.02, momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    before = copies(ours)
    for seed in (5, 6, 7):
        give_gradients(ours, seed)
        give_gradients(theirs, seed)
        muon.step_unless(GOOD)
        pytorch.step()
    for start, own, other in zip(before, ours, theirs, strict=True):
        # PyTorch iterates in bf16, of which 0.03 is eight units in the last place of 1.
        assert float(((own - other).norm() / (other - start).norm()).detach()) < 0.03


def test_matrices_of_one_shape_do_not_mix():
    together, alone = matrices(8), matrices(8)
    give_gradients(together, 9)
    give_gradients(alone, 9)
    both = Muon(together, momentum=0.9, weight_decay=0.0)
    both.learning_rate.fill_(0.1)
    both.step_unless(GOOD)
    for one in alone:
        muon = Muon([one], momentum=0.9, weight_decay=0.0)
        muon.learning_rate.fill_(0.1)
        muon.step_unless(GOOD)
    assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(together, alone, strict=True))


def test_a_step_that_is_not_finite_changes_nothing_and_drops_its_gradients():
    parameters = matrices(10)
    muon = Muon(parameters, momentum=0.9, weight_decay=0.1)
    muon.learning_rate.fill_(0.1)
    give_gradients(parameters, 11)
    muon.step_unless(GOOD)
    before = copies([*parameters, *muon.tensors()])
    give_gradients(parameters, 12)
    parameters[0].grad.fill_(torch.nan)
    muon.step_unless(BAD)
    after = [*parameters, *muon.tensors()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in parameters)


def test_linear_layers_are_matrices_and_all_else_is_not():
    named = dict(SwinIR(TINY).named_parameters())
    chosen, rest = split_parameters(named)
    names = {id(parameter): name for name, parameter in named.items()}
    assert {names[id(parameter)].split(".", 5)[-1] for parameter in chosen} == {
        "attn.qkv.weight",
        "attn.proj.weight",
        "mlp.fc1.weight",
        "mlp.fc2.weight",
    }
    assert len(chosen) + len(rest) == len(named)


def test_convolutions_of_the_body_are_matrices_where_they_are_asked_for():
    named = dict(SwinIR(TINY).named_parameters())
    without, _ = split_parameters(named)
    chosen, _ = split_parameters(named, with_convolutions=True)
    names = {id(parameter): name for name, parameter in named.items()}
    added = {names[id(p)] for p in chosen} - {names[id(p)] for p in without}
    assert added == {"layers.0.conv.weight", "conv_after_body.weight"}


@pytest.mark.parametrize("muon_convolutions", [False, True])
def test_every_parameter_is_updated_by_one_optimizer(muon_convolutions):
    recipe = OptimizerRecipe(
        steps=10, learning_rate=1e-3, kind=OptimizerKind.MUON, muon_convolutions=muon_convolutions
    )
    state = TrainState.create(TINY, recipe, seed=0, device=CPU, dtype=torch.float32)
    state.set_learning_rates(1e-3, muon=1e-2)
    before = copies(state.model.parameters())
    sum(parameter.sin().sum() for parameter in state.model.parameters()).backward()
    state.optimizer.step()
    state.muon.step_unless(GOOD)
    assert not any(map(torch.equal, before, state.model.parameters()))
    adam = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    matrices, rest = split_parameters(
        dict(state.model.named_parameters()), with_convolutions=muon_convolutions
    )
    assert adam == {id(p) for p in rest}
    assert not adam & {id(p) for p in matrices}
