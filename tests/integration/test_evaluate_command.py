"""``swinir evaluate`` from outside."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import SwinIR, SwinIRConfig, imaging
from swinir.cli.main import main
from swinir.evaluation import PROTOCOLS
from swinir.weights import save_checkpoint


def run(*words: object) -> int:
    return main([str(word) for word in words])


def make_weights(path: Path, **changes: object) -> Path:
    values = {"scale": 2, "in_channels": 3, "embed_dim": 8, "depths": (1,), "num_heads": (2,)}
    config = SwinIRConfig(**{**values, "upsampler": "pixelshuffledirect", **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_checkpoint(path, config, SwinIR(config).state_dict())
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return make_weights(tmp_path / "tiny.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A test set of two pictures."""
    (tmp_path / "set").mkdir()
    for index, name in enumerate("ab"):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 44, 3), dtype=np.uint8)
        imaging.write(imaging.Image(pixels=pixels), tmp_path / "set" / f"{name}.png")
    return tmp_path / "set"


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_the_document_says_where_its_figures_come_from(weights: Path, folder: Path, tmp_path: Path) -> None:
    assert run("evaluate", "-m", weights, "-d", f"Set={folder}", "--json", tmp_path / "a.json") == 0
    document = read(tmp_path / "a.json")
    assert {"version", "commit", "date", "cpu", "torch"} <= set(document["provenance"])
    (model,) = document["models"]
    assert model["precision"] == "fp32"
    assert model["backend"]
    assert len(model["weights_sha256"]) == 64
    (report,) = document["reports"]
    assert (report["data"], report["num_images"], report["protocol"]) == ("Set", 2, "lightweight-sr")


@pytest.mark.parametrize("option", ["--json", "--markdown", "--html"])
def test_a_report_that_cannot_be_written_is_said_before_the_work(
    option: str, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for place, why in ((tmp_path / "missing" / "a", "no folder"), (tmp_path, "it is a folder")):
        # No such model: nothing was loaded.
        assert run("evaluate", "-m", "no-model", "-d", f"Set={folder}", option, place) == 1
        told = " ".join(capfd.readouterr().err.split())
        assert "cannot be written" in told
        assert why in told


def test_two_runs_without_times_write_the_same_bytes(weights: Path, folder: Path, tmp_path: Path) -> None:
    kinds = {"--json": "json", "--markdown": "md", "--html": "html"}
    for name in "ab":
        files = [word for option, suffix in kinds.items() for word in (option, tmp_path / f"{name}.{suffix}")]
        assert run("evaluate", "-m", weights, "-d", f"Set={folder}", "--no-times", *files) == 0
    for suffix in kinds.values():
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    assert "seconds" not in (tmp_path / "a.json").read_text()


def test_models_and_sets_of_one_name_are_rows_of_their_own(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_weights(tmp_path / "other.safetensors", embed_dim=16)
    models = ("-m", weights, "-m", other)
    assert run("evaluate", *models, "-d", f"Set={folder}", "-d", f"Set={folder}") == 0
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()]
    assert rows.count(["tiny", "Set"]) == 2
    assert rows.count(["other", "Set"]) == 2


def test_the_engines_way_is_measured_beside_the_published_one(
    weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "-m", weights, "-d", f"Set={folder}", "--protocol", "engine") == 0
    shown = capsys.readouterr().out
    assert "engine padding" in shown
    assert "published padding" in shown
    assert "dB as the engine restores" in shown


def test_every_noise_level_is_a_report(folder: Path, tmp_path: Path) -> None:
    weights = make_weights(tmp_path / "denoiser.safetensors", scale=1, upsampler="")
    words = ("--noise", 15, "--noise", 50, "--json", tmp_path / "a.json")
    assert run("evaluate", "-m", weights, "-d", f"Set={folder}", *words) == 0
    reports = read(tmp_path / "a.json")["reports"]
    assert [report["level"] for report in reports] == [15, 50]
    assert {report["protocol"] for report in reports} == {"color-denoising"}


def test_pictures_without_originals_are_measured_by_niqe(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    imaging.write(imaging.Image(pixels=pixels), tmp_path / "real" / "a.png")
    window = np.full((7, 7), 1 / 49)
    statistics = {"mu_pris_param": np.ones(36), "cov_pris_param": np.eye(36), "gaussian_window": window}
    np.savez(tmp_path / "niqe.npz", **statistics)
    words = ("--protocol", "real-world", "--niqe", tmp_path / "niqe.npz", "--json", tmp_path / "a.json")
    assert run("evaluate", "-m", weights, "-d", f"Real={tmp_path / 'real'}", *words) == 0
    (report,) = read(tmp_path / "a.json")["reports"]
    assert set(report["means"]) == {"niqe", "seconds"}


def test_a_set_that_cannot_be_measured_is_named_and_the_others_are_measured(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    sets = ("-d", f"Empty={tmp_path / 'empty'}", "-d", f"Set={folder}")
    assert run("evaluate", "-m", weights, *sets, "--json", tmp_path / "a.json") == 1
    assert "Empty is left out: no image in" in " ".join(capsys.readouterr().err.split())
    assert [report["data"] for report in read(tmp_path / "a.json")["reports"]] == ["Set"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--protocol", "clasical-sr"), "but classical-sr"),
        (("--noise", 15), "leave out --noise"),
        (("--noise", 15, "--jpeg", 10), "exclude each other"),
        (("--protocol", "color-jpeg"), "is measured by lightweight-sr"),
        (("--protocol", "real-world", "--noise", 15), "leave out --noise"),
        (("--niqe", "missing.npz"), "no NIQE file missing.npz"),
    ],
)
def test_what_does_not_fit_is_said(
    weights: Path, folder: Path, words: tuple, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "-m", weights, "-d", folder, *words) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())


def test_help_names_every_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--help") == 0
    shown = "".join(capsys.readouterr().out.split()).replace("│", "")
    assert all(name.replace("-", "") in shown.replace("-", "") for name in PROTOCOLS)
