"""What training minimises, against its formulas."""

import math

import pytest
import torch
from torch.nn import functional

from swinir.training.losses import charbonnier, discriminator_gan_loss, generator_gan_loss, l1


def test_l1_is_the_mean_absolute_difference():
    assert l1(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 1.0]])) == pytest.approx(1.75)


def test_charbonnier_is_epsilon_where_nothing_differs_and_nearly_l1_where_much_does():
    zeros = torch.zeros(1, 3, 4, 4)
    assert charbonnier(zeros, zeros, 0.25) == pytest.approx(0.25)
    assert charbonnier(zeros, zeros) == pytest.approx(1e-3)
    assert charbonnier(zeros + 3, zeros, 4.0) == pytest.approx(5.0)
    assert charbonnier(zeros + 0.5, zeros) == pytest.approx(0.5, rel=1e-5)


def test_charbonnier_has_a_gradient_where_nothing_differs():
    restored = torch.zeros(1, 1, 2, 2, requires_grad=True)
    charbonnier(restored, torch.zeros(1, 1, 2, 2)).backward()
    assert torch.equal(restored.grad, torch.zeros(1, 1, 2, 2))


def test_gan_losses_are_cross_entropies():
    generator = torch.Generator().manual_seed(0)
    real, fake = (3 * torch.randn(2, 1, 5, 5, generator=generator) for _ in range(2))
    entropy = functional.binary_cross_entropy_with_logits
    assert generator_gan_loss(fake) == pytest.approx(entropy(fake, torch.ones_like(fake)).item(), rel=1e-5)
    both = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    assert discriminator_gan_loss(real, fake) == pytest.approx(both.item(), rel=1e-5)


def test_an_undecided_discriminator_loses_two_bits():
    undecided = torch.zeros(1, 1, 4, 4)
    assert discriminator_gan_loss(undecided, undecided) == pytest.approx(2 * math.log(2))
    assert generator_gan_loss(undecided) == pytest.approx(math.log(2))


def test_gan_losses_stay_finite_and_in_float32_however_sure_a_bf16_discriminator_is():
    sure = torch.full((1, 1, 2, 2), 1e4, dtype=torch.bfloat16)
    for loss in (generator_gan_loss(-sure), discriminator_gan_loss(-sure, sure)):
        assert loss.dtype is torch.float32
        assert loss.isfinite()
