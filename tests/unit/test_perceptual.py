"""The perceptual loss: VGG19's features where it says they are, its weights read safely, or one clear error."""

import hashlib
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from swinir.errors import DownloadError, WeightsError
from swinir.training import perceptual
from swinir.training.perceptual import (
    FEATURE_WEIGHTS,
    PerceptualLoss,
    load_vgg19,
    vgg19_file,
    vgg19_layers,
)


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return vgg19_layers().state_dict(prefix="features.")


@pytest.fixture(scope="module")
def loss(weights: dict[str, torch.Tensor]) -> PerceptualLoss:
    return PerceptualLoss(weights)


class PicklerOf2017(pickle.Pickler):
    """Writes tensors as PyTorch 0.1 did, and as the published file has them: a class, and its state."""

    def reducer_override(self, value):
        if type(value) is not torch.Tensor:
            return NotImplemented
        state = (value._typed_storage(), value.storage_offset(), tuple(value.shape), value.stride())
        return torch.FloatTensor, (), state


PICKLE_OF_2017 = SimpleNamespace(__name__="pickle", Pickler=PicklerOf2017, dump=pickle.dump)


def images(seed: int) -> torch.Tensor:
    return torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(seed))


def test_the_layers_are_torchvisions():
    layers = vgg19_layers()
    kinds = "".join({nn.Conv2d: "c", nn.ReLU: "r", nn.MaxPool2d: "p"}[type(layer)] for layer in layers)
    # Column E of the paper's table, up to conv5_4.
    assert kinds == "crcrp" + "crcrp" + "crcrcrcrp" + "crcrcrcrp" + "crcrcrc"
    channels = [(layers[at].in_channels, layers[at].out_channels) for at in FEATURE_WEIGHTS]
    assert channels == [(64, 64), (128, 128), (256, 256), (512, 512), (512, 512)]


def test_equal_images_are_no_distance_apart(loss):
    assert loss(images(0), images(0)) == 0
    assert loss(images(0), images(1)) > 0


def test_the_distance_is_the_weighted_sum_over_the_layers(loss):
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = 0.0
    with torch.no_grad():
        a, b = ((x - mean[:, None, None]) / std[:, None, None] for x in (images(0), images(1)))
        for index, layer in enumerate(loss.features):
            a, b = layer(a), layer(b)
            weight = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}.get(index, 0.0)
            wanted += weight * (a - b).abs().mean().item()
    assert loss(images(0), images(1)).item() == pytest.approx(wanted, rel=1e-4)


def test_features_are_those_before_their_relu(loss):
    with torch.no_grad():
        assert all(features.min() < 0 for features in loss.compared(images(0)).values())


def test_only_what_is_restored_gets_a_gradient(loss):
    restored, hq = images(0).requires_grad_(), images(1).requires_grad_()
    loss(restored, hq).backward()
    assert restored.grad.abs().max() > 0
    assert hq.grad is None
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_images_too_small_for_vgg19_are_named(loss):
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 32\), but VGG19 needs 16 pixels a side"):
        loss(torch.rand(1, 3, 8, 32), torch.rand(1, 3, 8, 32))


def test_a_file_of_torchvision_is_read_without_its_classifier(tmp_path, weights):
    path = tmp_path / "vgg19.pth"
    torch.save({**weights, "classifier.0.weight": torch.zeros(2, 2)}, path)
    assert_same(load_vgg19(path), weights)


def test_a_file_as_old_as_the_published_one_is_read(tmp_path, weights):
    path = tmp_path / "vgg19.pth"
    torch.save(weights, path, pickle_module=PICKLE_OF_2017, _use_new_zipfile_serialization=False)
    assert b"torch\nFloatTensor" in path.read_bytes()
    assert_same(load_vgg19(path), weights)


def test_safetensors_are_read_by_their_suffix_and_widened_to_float32(tmp_path, weights):
    halves = {name: value.half() for name, value in weights.items()}
    save_file(halves, tmp_path / "vgg19.safetensors")
    assert_same(load_vgg19(tmp_path / "vgg19.safetensors"), {n: v.float() for n, v in halves.items()})


def assert_same(read: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert read.keys() == wanted.keys()
    for name, value in wanted.items():
        assert read[name].dtype is torch.float32
        assert torch.equal(read[name], value)


def test_neither_reading_nor_building_draws_at_random(tmp_path, weights):
    torch.save(weights, tmp_path / "vgg19.pth")
    before = torch.get_rng_state()
    PerceptualLoss(load_vgg19(tmp_path / "vgg19.pth"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda weights: weights.pop("features.34.bias"), r"has no features\.34\.bias"),
        (
            lambda weights: weights.update({"features.0.weight": torch.zeros(64, 1, 3, 3)}),
            r"features\.0\.weight is \(64, 1, 3, 3\), but VGG19's is \(64, 3, 3, 3\)",
        ),
        (
            lambda weights: weights.update({"features.0.bias": torch.full((64,), torch.nan)}),
            r"features\.0\.bias has 64 values that are not finite",
        ),
        (
            lambda weights: weights.update({"features.2.bias": "?"}),
            r"features\.2\.bias is not a tensor but a str",
        ),
    ],
    ids=["missing", "shape", "nan", "text"],
)
def test_a_file_of_another_network_is_named(tmp_path, weights, spoil, complaint):
    spoiled = dict(weights)
    spoil(spoiled)
    torch.save(spoiled, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=rf"other\.pth .*{complaint}.*vgg19-dcbb9e9d\.pth"):
        load_vgg19(tmp_path / "other.pth")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut short", b"\x80\x02}q\x00."])
@pytest.mark.parametrize("name", ["mine.pth", "mine.safetensors"])
def test_a_damaged_file_is_one_error(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"{name} .*damaged"):
        load_vgg19(tmp_path / name)


def test_a_file_that_would_run_something_runs_nothing(tmp_path):
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path) + b"/ran'\ntR.")
    with pytest.raises(WeightsError, match="damaged"):
        load_vgg19(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path):
    for name in ("nowhere.pth", "nowhere.safetensors"):
        with pytest.raises(WeightsError, match=rf"{name} .*No such file"):
            load_vgg19(tmp_path / name)


def test_a_list_of_tensors_is_no_network(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="no dictionary of tensors but a list"):
        load_vgg19(tmp_path / "list.pth")


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(WeightsError, match=r"loss\.perceptual_weights is .*nowhere\.pth.*no such file"):
        vgg19_file(tmp_path / "nowhere.pth")
    (tmp_path / "here.pth").write_bytes(b"")
    assert vgg19_file(tmp_path / "here.pth") == tmp_path / "here.pth"


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Offer a file at the address of VGG19's weights."""
    path = tmp_path / "published" / "vgg19-dcbb9e9d.pth"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    monkeypatch.setenv("SWINIR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(path.parent))) as server:
        monkeypatch.setattr(perceptual, "VGG19_URL", f"http://127.0.0.1:{server.server_port}/{path.name}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield path
        server.shutdown()
        thread.join()


@pytest.fixture
def expected(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expect just that file."""
    monkeypatch.setattr(
        perceptual, "VGG19_SHA256_BEGINS", hashlib.sha256(published.read_bytes()).hexdigest()[:8]
    )


@pytest.mark.usefixtures("expected")
def test_weights_are_fetched_once_and_kept(published, tmp_path):
    first = vgg19_file()
    assert first == tmp_path / "cache" / "vgg19-dcbb9e9d.pth"
    assert first.read_bytes() == b"weights"
    published.unlink()
    assert vgg19_file() == first


@pytest.mark.usefixtures("expected")
def test_weights_that_are_cut_short_are_fetched_again(tmp_path):
    vgg19_file().write_bytes(b"wei")
    assert vgg19_file().read_bytes() == b"weights"


@pytest.mark.usefixtures("published")
def test_other_weights_than_expected_are_refused_and_nothing_is_kept(tmp_path):
    with pytest.raises(DownloadError, match=r"loss\.perceptual_weights.*sha256 .* instead of dcbb9e9d"):
        vgg19_file()
    assert list((tmp_path / "cache").iterdir()) == []


def test_weights_that_are_not_there_are_one_error_with_the_key_and_the_address(published):
    published.unlink()
    with pytest.raises(DownloadError, match=r"loss\.perceptual_weights.*404.*http://.*/vgg19-dcbb9e9d\.pth"):
        vgg19_file()


def test_without_a_network_the_error_names_the_key_and_the_address(tmp_path, monkeypatch):
    monkeypatch.setenv("SWINIR_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    # Nobody listens at the port of the discard protocol.
    monkeypatch.setattr(perceptual, "VGG19_URL", "http://127.0.0.1:9/vgg19-dcbb9e9d.pth")
    with pytest.raises(DownloadError, match=r"loss\.perceptual_weights.*no connection.*127\.0\.0\.1:9/vgg19"):
        vgg19_file()
