"""The discriminator of GAN stages: its size, its scores, and that its norms hold."""

import pytest
import torch
from torch import nn

from swinir.training.discriminator import UNetDiscriminator
from swinir.training.losses import discriminator_gan_loss


def small(seed: int = 0) -> UNetDiscriminator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UNetDiscriminator(base_channels=8)


def normed_weights(network: nn.Module) -> list[torch.Tensor]:
    return [
        module.weight
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and hasattr(module, "parametrizations")
    ]


def test_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in UNetDiscriminator().parameters()) == 4_376_897


@pytest.mark.parametrize("size", [(8, 8), (16, 40)])
def test_every_pixel_gets_a_logit(size):
    assert small()(torch.rand(2, 3, *size)).shape == (2, 1, *size)


def test_a_side_that_cannot_be_halved_three_times_is_named():
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 12\).*multiples of 8"):
        small()(torch.rand(1, 3, 16, 12))


def test_grey_images_are_judged_too():
    assert UNetDiscriminator(1, base_channels=8)(torch.rand(1, 1, 8, 8)).shape == (1, 1, 8, 8)


def test_all_convolutions_but_the_first_and_last_are_of_norm_1():
    network = small().train()
    assert len(normed_weights(network)) == 8
    for _ in range(50):
        network(torch.rand(1, 3, 8, 8))
    for weight in normed_weights(network.eval()):
        largest = torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2).item()
        assert largest == pytest.approx(1.0, abs=0.02)


def test_what_is_seen_far_away_reaches_a_score():
    network = small().eval()
    image = torch.rand(1, 3, 32, 32)
    changed = image.clone()
    changed[0, :, 0, 0] += 0.5
    difference = (network(changed) - network(image)).abs()[0, 0]
    # The deepest features see more than the convolutions at full size could.
    assert difference[8:12, 8:12].max() > 0


def test_a_copy_from_the_state_judges_the_same_to_the_bit():
    network, copy = small().train(), small(seed=1)
    network(torch.rand(1, 3, 8, 8))
    copy.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 16, 16)
    assert torch.equal(copy.train()(image), network.train()(image))


def test_it_learns_to_tell_noise_from_flat_pictures():
    network = small().train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(60):
        real = torch.rand(4, 3, 1, 1, generator=generator).expand(4, 3, 16, 16)
        fake = torch.rand(4, 3, 16, 16, generator=generator)
        loss = discriminator_gan_loss(network(real), network(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
