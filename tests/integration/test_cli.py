"""The command line as a user meets it: files, texts and exit statuses."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from swinir import SwinIR, SwinIRConfig, imaging
from swinir.cli import choices, loading, restoring
from swinir.cli.commands import COMMANDS, Command, Group
from swinir.cli.main import main
from swinir.errors import UsageError
from swinir.weights import load_checkpoint, save_checkpoint

TINY = SwinIRConfig(
    scale=2,
    in_channels=3,
    embed_dim=12,
    depths=(2,),
    num_heads=(2,),
    upsampler="pixelshuffledirect",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
        save_checkpoint(path, TINY, SwinIR(TINY).state_dict())
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    imaging.write(imaging.Image(pixels=pixels), path)
    return path


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_upscale_writes_beside_the_input_and_leaves_it_alone(model: Path, photo: Path) -> None:
    before = photo.read_bytes()
    assert run("upscale", photo, "--model", model) == 0
    assert imaging.read(photo.with_name("photo_x2.png")).pixels.shape == (26, 34, 3)
    assert photo.read_bytes() == before


def test_upscale_refuses_to_replace_a_file(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("upscale", photo, "--model", model) == 0
    assert run("upscale", photo, "--model", model) == 1
    assert "exists" in capfd.readouterr().err
    assert run("upscale", photo, "--model", model, "--overwrite") == 0


def test_one_bad_file_stops_nothing(
    model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"not an image")
    assert run("upscale", bad, photo, "--model", model, "-o", tmp_path / "out") == 1
    assert (tmp_path / "out" / "photo_x2.png").is_file()
    captured = capfd.readouterr()
    assert "bad.png" in captured.err
    assert "1 done, 1 failed" in captured.out


def test_a_folder_is_resumed(
    model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("upscale", photo.parent, "--model", model, "-o", tmp_path / "out") == 0
    capfd.readouterr()
    assert run("upscale", photo.parent, "--model", model, "-o", tmp_path / "out") == 0
    assert "skipped" in capfd.readouterr().out


def test_an_output_name_too_long_stops_nothing(
    model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / f"{'a' * 250}.png"
    long.write_bytes(photo.read_bytes())
    assert run("upscale", long, photo, "--model", model) == 1
    assert "1 done, 1 failed" in capfd.readouterr().out


def test_a_cut_png_is_told_in_one_line(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = imaging.encode(imaging.Image(pixels=np.zeros((64, 64, 3), np.uint8)), "png")[0]
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    assert run("upscale", cut, "--model", model, "--quiet") == 1
    error = capfd.readouterr().err.replace(str(cut), cut.name)
    assert len(error.strip().splitlines()) == 1
    assert "unable to call" not in error


def test_a_refused_size_names_the_option_that_allows_it(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.png"
    imaging.write(imaging.Image(pixels=np.zeros((40, 40, 3), np.uint8)), large)
    assert run("upscale", large, "--model", model, "--max-megapixels", 0.001) == 1
    assert "--max-megapixels" in capfd.readouterr().err


def test_quiet_says_nothing(model: Path, photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("upscale", photo, "--model", model, "--quiet") == 0
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "lightweigt-x2"], "lightweigt-x2"),
        (["--scale", "0.5"], "0.5"),
        (["--scale", "two"], "two"),
        (["--scale", "2", "--width", "9"], "width"),
        (["--to", "3840"], "3840x2160"),
        (["--model", "denoise", "--width", "900"], "does not enlarge"),
        (["--tile", "some"], "some"),
        (["--device", "gpu"], "gpu"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--frobnicate"], "frobnicate"),
        (["--max-megapixels", "inf"], "--max-megapixels"),
        ([""], "empty"),
    ],
)
def test_wrong_usage_is_status_2_and_names_the_value(
    photo: Path, capfd: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run("upscale", photo, *words) == 2
    assert said in capfd.readouterr().err


def test_a_folder_goes_to_all_devices_that_are_meant(
    model: Path,
    photo: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(photo.read_bytes())
    (tmp_path / "bad.png").write_bytes(b"not an image")
    asked: list[str] = []
    monkeypatch.setattr(
        loading, "choose_devices", lambda name: asked.append(name) or 2 * [torch.device("cpu")]
    )
    folder = tmp_path / "out"
    assert run("upscale", tmp_path, "--model", model, "--device", "cuda:all", "-o", folder) == 1
    assert asked == ["cuda:all"]
    told = capfd.readouterr()
    assert "on cpu, cpu in" in told.err
    assert "5 done, 1 failed" in told.out
    assert len(list(folder.iterdir())) == 5


@pytest.mark.parametrize(
    ("size", "name", "shape", "said"),
    [
        (["--scale", 1.5], "photo_x1.5.png", (20, 26, 3), "tiny (×2), then reduced to ×1.5"),
        (["--scale", 8], "photo_x8.png", (104, 136, 3), "tiny (×2), then tiny (×2), then tiny (×2)"),
        (["--to", "40x40"], "photo_40x40.png", (31, 40, 3), "reduced to fit 40×40"),
        (["--max-side", 5], "photo_max5.png", (4, 5, 3), "only reduced"),
    ],
)
def test_any_size_is_made_of_the_models_scale(  # noqa: PLR0917
    model: Path,
    photo: Path,
    capfd: pytest.CaptureFixture[str],
    size: list[object],
    name: str,
    shape: tuple[int, ...],
    said: str,
) -> None:
    assert run("upscale", photo, "--model", model, *size) == 0
    assert imaging.read(photo.with_name(name)).pixels.shape == shape
    shown = capfd.readouterr()
    assert said in shown.err + shown.out


def test_a_damaged_model_is_one_sentence(
    photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"\x80\x02junk")
    assert run("upscale", photo, "--model", damaged) == 1
    error = capfd.readouterr().err
    assert "damaged.pth" in error
    assert "Traceback" not in error
    assert len(error.strip().splitlines()) == 1


def test_devices_that_are_not_here_are_one_sentence(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for device in ("mps", "xpu", "vulkan", "meta", "cuda:99"):
        assert run("upscale", photo, "--model", model, "--device", device) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert line.startswith(f"swinir: device '{device}' is no")


def test_an_error_of_the_program_is_no_wrong_usage(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("shapes do not match")

    monkeypatch.setattr(restoring, "restore_all", fail)
    with pytest.raises(ValueError, match="shapes do not match") as caught:
        run("upscale", photo, "--model", model)
    assert not isinstance(caught.value, UsageError)


def list_commands(
    commands: Mapping[str, Command | Group], *before: str
) -> Iterator[tuple[list[str], Command]]:
    for name, command in commands.items():
        if isinstance(command, Group):
            yield from list_commands(command.commands, *before, name)
        else:
            yield [*before, name], command


def test_a_command_is_listed_by_the_first_line_of_its_help() -> None:
    for words, command in list_commands(COMMANDS):
        assert (command.load().__doc__ or "").splitlines()[0] == command.summary, words


@pytest.mark.parametrize(
    "words", ["--version", "--help", "upscale --help", "denoise --help", "models --help", "upscale"]
)
def test_help_and_usage_import_nothing_heavy(words: str) -> None:
    code = f"""
import sys
from swinir.cli.main import main
main({words.split()!r})
heavy = {{"torch", "numpy", "pyvips", "swinir.engine", "swinir.imaging", "rich"}} & sys.modules.keys()
sys.exit(str(heavy) if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_the_default_of_max_megapixels_is_that_of_reading() -> None:
    by_bands, whole = imaging.STREAM_LIMITS.max_pixels / 1e6, imaging.DEFAULT_LIMITS.max_pixels / 1e6
    assert choices.DEFAULT_MEGAPIXELS.startswith(f"{by_bands:,.0f},")
    assert f" {whole:.0f} " in choices.DEFAULT_MEGAPIXELS


def test_no_words_show_help(capfd: pytest.CaptureFixture[str]) -> None:
    run()
    shown = capfd.readouterr()
    assert "upscale" in shown.out + shown.err


@pytest.mark.parametrize("command", ["upscale", "denoise", "dejpeg", "evaluate", "train", "bench", "models"])
def test_every_command_has_help(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Usage" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("command", "default"),
    [
        (["upscale"], "the model's"),
        (["train"], "one per core"),
        (["bench"], "one per core"),
        (["models", "convert"], "suffix"),
    ],
)
def test_help_shows_defaults_that_are_no_values(
    command: list[str], default: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--help") == 0
    words = capfd.readouterr().out.replace("│", " ").split()
    assert default in " ".join(words)


@pytest.mark.parametrize(("command", "label"), [("denoise", "denoised"), ("dejpeg", "dejpeg")])
def test_cleaning_keeps_the_size_and_names_what_was_done(
    tmp_path: Path, photo: Path, command: str, label: str
) -> None:
    same_size = replace(TINY, scale=1, upsampler="")
    cleaner = tmp_path / "cleaner.safetensors"
    save_checkpoint(cleaner, same_size, SwinIR(same_size).state_dict())
    assert run(command, photo, "--model", cleaner) == 0
    assert imaging.read(photo.with_name(f"photo_{label}.png")).pixels.shape == (13, 17, 3)


def test_cleaning_refuses_a_model_that_enlarges(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("denoise", photo, "--model", model) == 2
    assert "enlarges ×2: use `swinir upscale`" in " ".join(capfd.readouterr().err.split())


def test_evaluate_prints_a_table_and_writes_json(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    imaging.write(imaging.Image(pixels=pixels), folder / "a.png")
    report = tmp_path / "report.json"
    assert run("evaluate", "--model", model, "--data", f"Mine={folder}", "--json", report) == 0
    assert "Mine" in capfd.readouterr().out
    written = json.loads(report.read_text())["reports"][0]
    assert written["num_images"] == 1
    assert 0 < written["means"]["psnr_y_db"] < 60


def test_evaluate_asks_what_a_model_that_does_not_enlarge_undoes(tmp_path: Path) -> None:
    config = SwinIRConfig(
        scale=1, in_channels=1, embed_dim=12, depths=(1,), num_heads=(2,), upsampler="", window_size=7
    )
    path = tmp_path / "jpeg.safetensors"
    save_checkpoint(path, config, SwinIR(config).state_dict())
    folder = tmp_path / "set"
    folder.mkdir()
    pixels = np.random.default_rng(1).integers(0, 256, (24, 32, 1), dtype=np.uint8)
    imaging.write(imaging.Image(pixels=pixels), folder / "a.png")
    assert run("evaluate", "--model", path, "--data", folder) == 2
    assert run("evaluate", "--model", path, "--data", folder, "--jpeg", 40) == 0


def test_models_list_names_the_published_ones(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "list") == 0
    assert "classical-x4-df2k" in capfd.readouterr().out


def test_models_info_shows_the_architecture(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "info", model) == 0
    shown = capfd.readouterr().out
    assert "pixelshuffledirect" in shown
    assert "embed_dim:" in shown
    assert "known release:     no" in shown


def test_models_info_counts_work_beside_what_the_paper_says(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "info", "published-lightweight-x4", "--size", "1280x720") == 0
    shown = capfd.readouterr().out
    assert "929,628 (the paper says 897 K)" in shown
    assert "(the paper says 49.6 G for 1280x720) for a result of 1280×720" in shown


def test_models_info_estimates_time_and_memory(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "info", model) == 0
    assert re.search(
        r"time here: +about \S+ s for a result of 1280×720\nmemory here: +about \S+ GB",
        capfd.readouterr().out,
    )
    assert run("models", "info", model, "--no-estimate") == 0
    assert "time here" not in capfd.readouterr().out


@pytest.mark.parametrize("size", ["", "640", "0x5", "5x", "99999999x1"])
def test_models_info_refuses_what_is_no_size(size: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("models", "info", "lightweight-x2", "--size", size) == 2
    assert "--size is" in capfd.readouterr().err


def test_models_convert_there_and_back_keeps_every_value(model: Path, tmp_path: Path) -> None:
    there, back = tmp_path / "there.pth", tmp_path / "back.safetensors"
    assert run("models", "convert", model, there) == 0
    assert run("models", "convert", there, back) == 0
    (config, before), (same, after) = load_checkpoint(model), load_checkpoint(back)
    assert same == config
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert run("models", "convert", model, there) == 1


def test_train_makes_weights_that_upscale_uses(tmp_path: Path, photo: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    pixels = np.random.default_rng(2).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    imaging.write(imaging.Image(pixels=pixels), pictures / "a.png")
    recipe = Path(__file__).parents[2] / "recipes" / "cpu_lightweight_x2.toml"
    changes = [
        f"data.train={pictures}",
        f"run.folder={tmp_path / 'run'}",
        "data.crop_px=8",
        "data.batch_size=1",
        "optimizer.steps=1",
    ]
    assert run("train", recipe, *changes) == 0
    weights = tmp_path / "run" / "last.safetensors"
    assert run("upscale", photo, "--model", weights, "-o", tmp_path / "large.png") == 0
    assert run("train", recipe, *changes) == 1
    assert run("train", recipe, *changes, "optimizer.stepz=1") == 2


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["upscale", "{photo}", "--scale", "0"], 2, "scale is 0: choose one above 1"),
        (["upscale", "{photo}", "-o", "x.pgn"], 2, "write .png, or make the folder first"),
        (["upscale", "nothere.mp4"], 1, "nothere.mp4 does not exist"),
        (["models", "convert", "real-x2", "x.onnx"], 2, "use `swinir export`"),
    ],
)
def test_what_is_not_meant_so_is_said_and_nothing_is_written(  # noqa: PLR0917
    words: list[str],
    status: int,
    sentence: str,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    before = sorted(photo.parent.iterdir())
    assert main([word.format(photo=photo.name) for word in words]) == status
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert sorted(photo.parent.iterdir()) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            "models list > /dev/full",
            "standard output, or a file, cannot be written (No space left on device)",
        ),
        ("upscale - <&-", "standard input is closed"),
    ],
)
def test_standard_streams_that_fail_are_one_sentence(command: str, sentence: str) -> None:
    ran = subprocess.run(
        f"{sys.executable} -m swinir {command}", shell=True, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, len(ran.stderr.splitlines())) == (1, 1)
    assert sentence in ran.stderr
