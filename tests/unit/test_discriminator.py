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
    first, down = 3 * 64 * 9 + 64, (64 * 128 + 128 * 256 + 256 * 512) * 16
    up, smooth, last = (512 * 256 + 256 * 128 + 128 * 64) * 9, 2 * 64 * 64 * 9, 64 * 9 + 1
    assert first + down + up + smooth + last == 4_376_897
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


def train(network: UNetDiscriminator, num_steps: int) -> list[float]:
    """Teach it to tell bright pictures from dark ones, by the signs of gradients: torch.optim is slow to import."""
    generator = torch.Generator().manual_seed(0)
    parameters = list(network.train().parameters())
    losses: list[float] = []
    for _ in range(num_steps):
        bright, dark = 0.5 * torch.rand(2, 2, 3, 16, 16, generator=generator)
        loss = discriminator_gan_loss(network(bright + 0.5), network(dark))
        signs = [gradient.sign() for gradient in torch.autograd.grad(loss, parameters)]
        with torch.no_grad():
            torch._foreach_sub_(parameters, torch._foreach_mul(signs, 1e-3))
        losses.append(loss.item())
    return losses


def test_a_run_that_goes_on_from_the_state_is_the_same_to_the_bit(tmp_path):
    network, copy = small(), small(seed=1)
    train(network, 3)
    torch.save(network.state_dict(), tmp_path / "state.pt")
    copy.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    # The vectors of the power iteration are buffers: without them the norms would differ.
    assert train(copy, 3) == train(network, 3)
    found = copy.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())


def test_it_learns_to_tell_bright_pictures_from_dark_ones():
    losses = train(small(), 20)
    assert losses[-1] < 0.5 * losses[0]
