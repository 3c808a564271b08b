"""Models come from the Hugging Face Hub and go there; the hub is a stand-in on this machine."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard, close_session, constants
from huggingface_hub.utils import disable_progress_bars
from safetensors import safe_open

from hub import Hub, serving_hub
from swinir import Restorer
from swinir.cli.main import main
from swinir.errors import DownloadError, UnknownModelError
from swinir.model import SwinIR, SwinIRConfig, Upsampler
from swinir.weights import catalog, load_checkpoint, save_checkpoint, write_official
from swinir.weights.hub import HubName, parse_name

# Of the hub's library, where it uploads.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REPO = "someone/tiny-swinir"
CONFIG = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=4,
    depths=(2,),
    num_heads=(2,),
    window_size=4,
    upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT,
)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = SwinIR(CONFIG).state_dict()
    return {name: torch.rand(tensor.shape, generator=generator) for name, tensor in shapes.items()}


@pytest.fixture
def weights(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    notes = {"licence": "CC0-1.0", "task": "super-resolution", "figures": json.dumps({"Set5": [30.5, 0.875]})}
    save_checkpoint(tmp_path / "mine.safetensors", CONFIG, state, metadata=notes)
    return tmp_path / "mine.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", "hf_test")
        monkeypatch.setenv("no_proxy", "*")
        # Its library reads the environment once, on import.
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        disable_progress_bars()
        yield hub
        close_session()


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("hf:a/b", HubName(repo="a/b")),
        ("hf:a/b.c-d@v1.0", HubName(repo="a/b.c-d", revision="v1.0")),
        ("hf:a/b@refs/pr/1", HubName(repo="a/b", revision="refs/pr/1")),
        ("hf:a/b:x/y.pth", HubName(repo="a/b", file="x/y.pth")),
        ("hf:a/b@main:y.pth", HubName(repo="a/b", revision="main", file="y.pth")),
    ],
)
def test_a_name_says_repository_revision_and_file(text: str, name: HubName) -> None:
    assert parse_name(text) == name
    assert str(name) == text


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/b/c", "hf:a/b@", "hf:a/b:", "hf:a b/c", "hf:/b"])
def test_what_is_no_name_says_how_one_is_written(text: str) -> None:
    with pytest.raises(UnknownModelError, match="write hf:owner/name"):
        catalog.resolve(text)


def test_a_model_comes_from_the_hub(hub: Hub, weights: Path, state: dict[str, torch.Tensor]) -> None:
    commit = hub.commit(REPO, {"model.safetensors": weights.read_bytes()})
    file = catalog.resolve(f"hf:{REPO}")
    assert (file.name, file.revision) == (f"hf:{REPO}", commit)
    config, loaded = load_checkpoint(file)
    assert config == CONFIG
    assert torch.equal(loaded["norm.bias"], state["norm.bias"])
    assert Restorer.from_pretrained(f"hf:{REPO}", device="cpu").describe()["model"] == f"hf:{REPO}"


def test_a_revision_is_a_branch_or_a_commit(hub: Hub, weights: Path) -> None:
    first = hub.commit(REPO, {"model.safetensors": weights.read_bytes()})
    hub.commit(REPO, {"model.safetensors": b"something else"})
    hub.branches[REPO]["stable"] = first
    for revision in ("stable", first):
        file = catalog.resolve(f"hf:{REPO}@{revision}")
        assert (file.path.read_bytes(), file.revision) == (weights.read_bytes(), first)
    assert catalog.resolve(f"hf:{REPO}").path.read_bytes() == b"something else"


def test_the_only_weights_file_is_taken_whatever_its_name(hub: Hub, weights: Path) -> None:
    hub.commit(REPO, {"README.md": b"", "net/SwinIR_x2.pth": weights.read_bytes()})
    assert catalog.resolve(f"hf:{REPO}").path.name == "SwinIR_x2.pth"


def test_of_several_weights_files_one_is_to_be_named(hub: Hub, weights: Path) -> None:
    hub.commit(REPO, {"a.pth": b"a", "b.pth": weights.read_bytes()})
    with pytest.raises(
        UnknownModelError, match=f"has 2 weights files, name one: hf:{REPO}:a.pth, hf:{REPO}:b.pth"
    ):
        catalog.resolve(f"hf:{REPO}")
    assert load_checkpoint(catalog.resolve(f"hf:{REPO}:b.pth"))[0] == CONFIG


def test_what_is_not_there_is_named(hub: Hub) -> None:
    hub.commit(REPO, {"README.md": b""})
    for name, complaint in (
        ("hf:someone/nothing", "no such repository"),
        (f"hf:{REPO}@v9", "no such revision"),
        (f"hf:{REPO}:x.pth", "no such file"),
        (f"hf:{REPO}", "has no weights file"),
        ("hf:some--one/tiny", "is no name of the hub"),
    ):
        with pytest.raises(UnknownModelError, match=complaint) as caught:
            catalog.resolve(name)
        assert "\n" not in str(caught.value)


def test_a_gated_repository_says_how_to_get_in(hub: Hub) -> None:
    hub.commit(REPO, {})
    hub.gated.add(REPO)
    with pytest.raises(DownloadError, match="ask at the hub, then log in"):
        catalog.resolve(f"hf:{REPO}")


@pytest.mark.parametrize("file", ["model.safetensors", "other.pth"])
def test_what_is_in_the_cache_needs_no_hub(
    hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    hub.commit(REPO, {file: weights.read_bytes()})
    path = catalog.resolve(f"hf:{REPO}").path
    num_requests = len(hub.requests)
    offline(monkeypatch)
    assert catalog.resolve(f"hf:{REPO}").path == path
    assert len(hub.requests) == num_requests


def test_offline_without_a_copy_is_one_sentence(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.commit(REPO, {"model.safetensors": b""})
    offline(monkeypatch)
    with pytest.raises(
        DownloadError, match="not in the hub's cache, and the hub cannot be reached"
    ) as caught:
        catalog.resolve(f"hf:{REPO}")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_of_the_hub_is_refused_as_any(hub: Hub, weights: Path) -> None:
    hub.commit(REPO, {"model.safetensors": weights.read_bytes()[:-1]})
    assert main(["models", "info", f"hf:{REPO}"]) == 1


def test_a_copy_of_a_repository_is_a_model(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "copy").mkdir()
    weights.rename(tmp_path / "copy" / "model.safetensors")
    file = catalog.resolve(tmp_path / "copy")
    assert (file.name, load_checkpoint(file)[0]) == ("copy", CONFIG)


def test_a_model_that_is_pushed_is_found_again_byte_for_byte(
    hub: Hub, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "push", str(weights), REPO]) == 0
    files = hub.files(REPO)
    assert files.keys() == {".gitattributes", "model.safetensors", "config.json", "README.md"}
    assert files["model.safetensors"] == weights.read_bytes()
    assert SwinIRConfig.from_dict(json.loads(files["config.json"])["swinir_config"]) == CONFIG
    assert f"mine -> {hub.url}/{REPO}/commit/" in capsys.readouterr().out.replace("\n", "")
    assert catalog.resolve(f"hf:{REPO}").path.read_bytes() == weights.read_bytes()


def test_the_card_says_licence_task_and_figures_where_the_hub_reads_them(hub: Hub, weights: Path) -> None:
    assert main(["models", "push", str(weights), REPO]) == 0
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc0-1.0",
        "swinir",
        "image-to-image",
    )
    assert {"swinir", "super-resolution"} <= set(card.data.tags)
    results = {
        (result.dataset_name, result.metric_type): result.metric_value for result in card.data.eval_results
    }
    assert results == {("Set5", "psnr"): 30.5, ("Set5", "ssim"): 0.875}
    assert f"--model hf:{REPO}" in card.text
    assert "| Set5 | 30.50 | 0.8750 |" in card.text


def test_a_bundled_model_is_pushed_with_its_own_card(hub: Hub) -> None:
    assert main(["models", "push", "denoise", REPO]) == 0
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert "image-denoising" in card.data.tags
    assert "## Training" in card.text
    assert "](../" not in card.text
    assert f"swinir denoise photo.jpg --model hf:{REPO}" in card.text


def test_a_published_file_is_pushed_as_safetensors(
    hub: Hub, tmp_path: Path, state: dict[str, torch.Tensor]
) -> None:
    write_official(tmp_path / "a.pth", CONFIG, state, training_size_px=8)
    assert main(["models", "push", str(tmp_path / "a.pth"), REPO, "--licence", "my own"]) == 0
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert (card.data.license, card.data.license_name) == ("other", "my own")
    path = catalog.resolve(f"hf:{REPO}").path
    with safe_open(path, "pt") as file:
        assert "swinir_config" in file.metadata()
    assert load_checkpoint(path)[0] == CONFIG


def test_a_card_that_is_there_stays_unless_replaced(hub: Hub, weights: Path) -> None:
    hub.commit(REPO, {"README.md": b"by hand"})
    assert main(["models", "push", str(weights), REPO]) == 0
    assert hub.files(REPO)["README.md"] == b"by hand"
    assert main(["models", "push", str(weights), REPO, "--replace-card"]) == 0
    assert hub.files(REPO)["README.md"] != b"by hand"


def test_a_new_repository_may_be_private_and_a_branch_is_made(hub: Hub, weights: Path) -> None:
    assert main(["models", "push", str(weights), REPO, "--private", "--branch", "next"]) == 0
    assert REPO in hub.private
    assert "model.safetensors" not in hub.files(REPO)
    assert hub.files(REPO, "next")["model.safetensors"] == weights.read_bytes()


def test_an_upload_that_fails_is_one_sentence(
    hub: Hub, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.loses_uploads = True
    assert main(["models", "push", str(weights), REPO]) == 1
    assert "Error while uploading 'model.safetensors'" in capsys.readouterr().err
    assert "model.safetensors" not in hub.files(REPO)


def test_a_hub_that_does_not_know_who_pushes_says_so(
    hub: Hub, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.token = "hf_other"
    assert main(["models", "push", str(weights), REPO]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"swinir: hf:{REPO}: ")
    assert "log in" in message
    assert hub.branches == {}
