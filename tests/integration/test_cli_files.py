"""Files as a command line meets them: pipes, lists, odd names, frames, runs that are repeated."""

import io
import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from swinir import Enlarger, Restorer, SwinIR, SwinIRConfig, TargetSize, imaging
from swinir.cli.main import main
from swinir.jobs import estimate_work, plan_jobs
from swinir.weights import save_checkpoint

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
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    imaging.write(imaging.Image(pixels=pixels), path)
    return path


def run(model: Path, *words: object) -> int:
    return main(["upscale", "--model", str(model), *[str(word) for word in words]])


def lines_of(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_an_image_goes_from_standard_input_to_standard_output(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(photo.read_bytes())))
    assert run(model, "-") == 0
    written = capfdbinary.readouterr().out
    assert imaging.read(written).pixels.shape == (26, 34, 3)
    assert written[:4] == b"\x89PNG"
    assert run(model, photo, "-o", "-", "--format", "jpg") == 0
    assert capfdbinary.readouterr().out[:2] == b"\xff\xd8"
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_messages_say_standard_input_and_name_a_file_once(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = photo.read_bytes()[:80]
    for words in ([], ["-o", photo.with_name("b.png")]):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(cut)))
        assert run(model, "-", *words) == 1
        told = capfd.readouterr().err.splitlines()[-1]
        assert told.startswith("standard input cannot be read")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(photo.read_bytes())))
    assert run(model, "-", "-o", photo.with_name("b.png"), "--json") == 0
    assert lines_of(capfd)[1]["source"] == "standard input"
    photo.write_bytes(cut)
    assert run(model, photo) == 1
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"{photo} cannot be read")


def test_the_traceback_of_a_file_that_failed_is_shown_to_who_debugs(
    model: Path, photo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    photo.write_bytes(b"nothing")
    for words, shows in (([], False), (["--debug"], True)):
        assert run(model, photo, *words) == 1
        assert ("Traceback" in caplog.text) == shows


def test_options_of_films_are_refused_for_pictures(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for words in (["--crf", 20], ["--preset", "slow"], ["--deinterlace"], ["--video-codec", "ffv1"]):
        assert run(model, photo, *words) == 2
        assert f"{words[0]} is of films" in capfd.readouterr().err


@pytest.mark.parametrize("words", [["--include", "*.mp4"], ["--exclude", "*.png"]])
def test_patterns_that_leave_nothing_are_named(
    model: Path, photo: Path, words: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(model, photo.parent, *words) == 1
    option, pattern = words
    assert f"within the patterns ({option.removeprefix('--')} '{pattern}')" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words", [["-", "a.png"], ["{folder}", "-o", "-"], ["-", "-o", "a.png", "--ray", "auto"]]
)
def test_a_pipe_holds_one_image(model: Path, photo: Path, words: list[str]) -> None:
    assert run(model, *[word.format(folder=photo.parent) for word in words]) == 2


def test_a_list_comes_from_standard_input_or_a_file(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.fsencode(photo) + b"\n\n" + os.fsencode(photo.with_name("gone.png")) + b"\n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(listed)))
    assert run(model, "--list", "-", "-o", photo.parent / "out") == 1
    assert (photo.parent / "out" / "photo_x2.png").exists()
    written = photo.parent / "list.txt"
    written.write_bytes(os.fsencode(photo))
    assert run(model, f"@{written}", "-o", photo.parent / "out2") == 0
    assert (photo.parent / "out2" / "photo_x2.png").exists()
    assert run(model, "--list", photo.parent / "no such list") == 2


def test_names_that_no_encoding_has_stop_nothing(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [b"caf\xe9.png", b"[bold]red.png", b"line\nbreak\x1b[31m.png", "日本 🖼.png".encode()]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(photo.parent), name))).write_bytes(photo.read_bytes())  # noqa: PTH118
    assert run(model, photo.parent, "-o", photo.parent / "out") == 0
    assert len(os.listdir(os.fsencode(photo.parent / "out"))) == 5  # noqa: PTH208
    told = capfd.readouterr().out
    assert "\x1b" not in told
    assert "caf\\xe9.png" in told
    assert "[bold]red.png" in told


def test_a_second_run_takes_originals_only_and_notices_what_changed(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(model, photo.parent) == 0
    assert run(model, photo.parent, "--scale", 3) == 0
    assert sorted(path.name for path in photo.parent.iterdir()) == [
        "photo.png",
        "photo_x2.png",
        "photo_x3.png",
    ]
    capfd.readouterr()
    assert run(model, photo.parent) == 0
    assert "skipped" in capfd.readouterr().out
    assert run(model, photo.parent, "--ensemble") == 1
    told = capfd.readouterr().err
    assert re.search(r"other settings \(tiny (\w{8}) ×2, not tiny \1 ×2, ensemble\)", told)
    before = (photo.parent / "photo_x2.png").read_bytes()
    assert run(model, photo.parent, "--ensemble", "--update") == 0
    assert (photo.parent / "photo_x2.png").read_bytes() != before

    imaging.write(imaging.Image(pixels=np.zeros((5, 6, 3), np.uint8)), photo)
    assert run(model, photo.parent, "--ensemble") == 1
    assert "made of another version of" in capfd.readouterr().err
    assert run(model, photo.parent, "--ensemble", "--update") == 0
    assert imaging.read(photo.parent / "photo_x2.png").pixels.shape == (10, 12, 3)


def test_other_parameters_under_the_same_name_are_noticed(
    model: Path, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(model, photo.parent) == 0
    with torch.random.fork_rng():
        torch.manual_seed(1)
        save_checkpoint(tmp_path / model.name, TINY, SwinIR(TINY).state_dict())
    assert run(tmp_path / model.name, photo.parent) == 1
    assert "made by other settings" in capfd.readouterr().err


def test_an_input_that_was_only_touched_is_done(model: Path, photo: Path) -> None:
    assert run(model, photo.parent) == 0
    os.utime(photo)
    before = (photo.parent / "photo_x2.png").stat().st_ino
    assert run(model, photo.parent) == 0
    assert (photo.parent / "photo_x2.png").stat().st_ino == before


def test_lines_of_json_say_all(model: Path, photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (photo.parent / "bad.png").write_bytes(b"not an image")
    assert run(model, photo.parent, "-o", photo.parent / "out", "--json") == 1
    plan, bad, good, summary = lines_of(capfd)
    assert str(plan.pop("computed_by")).startswith("tiny (×2) on cpu in ")
    assert plan == {
        "event": "plan",
        "files": 2,
        "left_out": {"own_results": 0, "others": 0},
        "estimate": None,
        "models": ["tiny"],
    }
    assert (bad["outcome"], bad["code"]) == ("failed", "ImageReadError")
    assert "bad.png" in str(bad["error"])
    assert (good["outcome"], good["source"]) == ("done", str(photo))
    assert Path(str(good["destination"])).exists()
    assert {key: summary[key] for key in ("event", "done", "skipped", "failed")} == {
        "event": "summary",
        "done": 1,
        "skipped": 0,
        "failed": 1,
    }


@pytest.mark.parametrize(
    ("size", "models"), [(("--scale", "3"), ["tiny", "tiny"]), (("--width", "90"), ["tiny"])]
)
def test_the_plan_names_the_models_of_a_size(
    model: Path, photo: Path, size: tuple[str, str], models: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(model, photo.parent, *size, "--json") == 0
    plan = lines_of(capfd)[0]
    assert plan["models"] == models


def test_the_summary_names_each_failure(model: Path, photo: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("bad.png", "worse.png"):
        (photo.parent / name).write_bytes(b"not an image")
    assert run(model, photo.parent, "-o", photo.parent / "out") == 1
    said = capfd.readouterr()
    assert "1 done, 2 failed" in said.out
    last = said.err.splitlines()[-2:]
    assert ["failed:" in line for line in last] == [True, True]
    assert "bad.png" in last[0]
    assert "worse.png" in last[1]


def test_a_failure_whose_message_names_no_file_is_shown_with_its_name(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    imaging.write(imaging.Image(pixels=np.zeros((2, 3, 3), np.uint8)), photo.parent / "icon.png")
    assert run(model, photo.parent, "-o", photo.parent / "out", "--width", "40") == 1
    said = capfd.readouterr()
    assert "1 done, 1 failed" in said.out
    shown, summary = [line for line in said.err.splitlines() if "of a picture of 3 × 2 pixels" in line]
    assert "icon.png: of a picture" in shown
    assert "failed:" in summary
    assert "icon.png" in summary


def moving(folder: Path) -> Path:
    path = folder / "moving.png"
    frames = [imaging.Image(pixels=np.full((9, 8, 3), level, np.uint8)) for level in (10, 200, 90)]
    timing = imaging.Timing((40, 50, 60), 2)
    imaging.write_frames(frames, path, count=3, timing=timing)
    return path


def test_all_frames_are_restored_where_the_output_holds_them(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = moving(tmp_path)
    assert run(model, source) == 0
    frames = imaging.read_frames(tmp_path / "moving_x2.png")
    assert (frames.count, frames.timing) == (3, imaging.Timing((40, 50, 60), 2))
    assert [frame.pixels.shape for frame in frames] == 3 * [(18, 16, 3)]
    capfd.readouterr()
    assert run(model, source, "-o", tmp_path / "still.jpg") == 0
    assert "Of 3 frames the first was read" in capfd.readouterr().out
    assert run(model, source, "-o", tmp_path / "no.jpg", "--frames", "all") == 1
    assert "cannot hold 3 frames" in capfd.readouterr().err
    assert run(model, source, "-o", tmp_path / "first.png", "--frames", "first") == 0
    assert imaging.read_frames(tmp_path / "first.png").count == 1


def test_what_cannot_be_written_is_said_before_the_network_runs(model: Path, tmp_path: Path) -> None:
    from swinir.errors import ImageWriteError

    wide = tmp_path / "wide.png"
    imaging.write(imaging.Image(pixels=np.zeros((1, 8200, 3), np.uint8)), wide)
    steps: list[int] = []
    restorer = Restorer.from_pretrained(model)
    with pytest.raises(ImageWriteError, match="16,400"):
        restorer.restore_file(wide, tmp_path / "wide.webp", progress=lambda done, _: steps.append(done))
    assert steps == []


def test_a_disk_that_is_too_full_is_said_before_the_network_runs(
    model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100))
    assert run(model, photo) == 1
    assert "would take about 0 MB and 0 MB are free" in capfd.readouterr().err
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_long_work_is_announced_before_it_begins(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from swinir.cli import restoring

    ticks = iter([0.0, 96 * 96.0])
    monkeypatch.setattr("swinir.jobs.estimate._LEAST_PX", {"cpu": 100})
    monkeypatch.setattr(restoring, "estimate_work", partial(estimate_work, clock=lambda: next(ticks)))
    assert run(model, photo) == 0
    assert "1 file, 0.0 to 0.0 megapixels, 1 tile, about 3 min 41 s" in capfd.readouterr().err


def test_pixels_of_all_frames_and_passes_are_counted(model: Path, tmp_path: Path) -> None:
    restorer = Restorer.from_pretrained(model, device="cpu")
    plan = plan_jobs([moving(tmp_path)], label="x3")
    size = TargetSize(scale=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("swinir.jobs.estimate._LEAST_PX", {"cpu": 0})
        ticks = iter([0.0, 96 * 96.0])
        work = estimate_work(plan, [Enlarger(size, models={2: restorer})], clock=lambda: next(ticks))
    assert work is not None
    assert (work.input_px, work.output_px, work.num_tiles) == (3 * 72, 3 * 72 * 9, 6)
    assert work.seconds == pytest.approx(3 * 72 * 5)
    assert estimate_work(plan, [restorer]) is None


def test_what_is_left_of_a_broken_picture_is_restored_if_that_is_asked_for(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    whole = imaging.encode(imaging.Image(pixels=noise), "jpg")[0]
    path, result = tmp_path / "cut.jpg", tmp_path / "restored.png"
    path.write_bytes(whole[: len(whole) // 2])
    assert run(model, path, "-o", result) == 1
    assert "--salvage" in capfd.readouterr().err
    assert not result.exists()
    assert run(model, path, "-o", result, "--salvage") == 0
    assert "of 64 rows about" in " ".join(capfd.readouterr().out.split())
    assert imaging.read(result).pixels.shape == (128, 96, 3)


@pytest.mark.parametrize("is_fast", [False, True])
def test_no_file_is_begun_behind_one_that_failed_if_that_is_asked_for(
    model: Path, photo: Path, capfd: pytest.CaptureFixture[str], *, is_fast: bool
) -> None:
    for name in ("a.png", "b.png"):
        (photo.parent / name).write_bytes(b"not an image")
    options = ["--fail-fast"] if is_fast else []
    assert run(model, photo.parent, "-o", photo.parent / "out", *options) == 1
    told = capfd.readouterr().out
    assert ("1 failed, 2 not done" if is_fast else "1 done, 2 failed") in told
    assert (photo.parent / "out" / "photo_x2.png").exists() != is_fast
