"""Files of any size by bands: the same file as whole, in bounded memory, and again after the run was killed."""

import multiprocessing
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pyvips
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from giants import one_layer, restore_until
from swinir import imaging
from swinir.cli.main import main
from swinir.errors import ImageReadError, ImageTooLargeError, ImageWriteError
from swinir.imaging import DEFAULT_LIMITS, STREAM_LIMITS, Image, Limits, TiffLayout
from swinir.jobs import Job, JobResult, Outcome, finished, restore_by_bands, restore_files
from swinir.jobs.bands import streaming_limits

FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
KILLED = -9


pytestmark = pytest.mark.usefixtures("one_thread")


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), np.uint8)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    channels=st.sampled_from([1, 3]),
    has_alpha=st.booleans(),
    is_grey=st.booleans(),
    orientation=st.integers(1, 8),
    suffix=st.sampled_from([".png", ".jpg", ".tif", ".webp"]),
    tile=st.sampled_from([32, 48]),
)
@FEW
def test_file_by_bands_is_the_file_restored_whole(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    height: int,
    width: int,
    channels: int,
    has_alpha: bool,
    is_grey: bool,
    orientation: int,
    suffix: str,
    tile: int,
) -> None:
    monkeypatch.setattr("swinir.imaging.band._BAND_BYTES", 3_000)
    folder = tmp_path_factory.mktemp("bands")
    pixels = noise(height, width, channels + has_alpha)
    if is_grey:
        pixels[:, :, :channels] = pixels[:, :, :1]
    picture = pyvips.Image.new_from_array(pixels, interpretation="b-w" if channels == 1 else "srgb").copy()
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    picture.write_to_file(str(folder / "given.tif"))
    restorer = one_layer(tile=tile)
    told_whole = restorer.restore_file(folder / "given.tif", folder / f"whole{suffix}")
    told = restore_by_bands(restorer, folder / "given.tif", folder / f"bands{suffix}")
    assert (folder / f"bands{suffix}").read_bytes() == (folder / f"whole{suffix}").read_bytes()
    assert sorted(told) == sorted(told_whole)
    assert not hidden(folder)


def test_palette_and_floats_beyond_their_range_are_those_of_the_whole(tmp_path: Path) -> None:
    restorer = one_layer(tile=32)
    pyvips.Image.new_from_array(noise(70, 50)).write_to_file(str(tmp_path / "palette.png"), palette=True)
    floats = np.random.default_rng(0).normal(0.5, 0.4, (70, 50, 3)).astype(np.float32)
    imaging.write(Image(pixels=floats), tmp_path / "floats.tif")
    for name in ("palette.png", "floats.tif"):
        whole, bands = tmp_path / f"whole_{name}", tmp_path / f"bands_{name}"
        told = restorer.restore_file(tmp_path / name, whole)
        assert sorted(restore_by_bands(restorer, tmp_path / name, bands)) == sorted(told)
        assert bands.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("layout", TiffLayout)
def test_every_layout_of_tiff_has_the_same_pixels(tmp_path: Path, layout: TiffLayout) -> None:
    restorer = one_layer(tile=48)
    imaging.write(Image(pixels=noise(140, 100)), tmp_path / "given.png")
    restore_by_bands(restorer, tmp_path / "given.png", tmp_path / "out.tif", layout=layout)
    restorer.restore_file(tmp_path / "given.png", tmp_path / "whole.png")
    written = imaging.read(tmp_path / "out.tif")
    assert np.array_equal(written.pixels, imaging.read(tmp_path / "whole.png").pixels)


def test_deep_zoom_is_a_description_and_its_tiles(tmp_path: Path) -> None:
    imaging.write(Image(pixels=noise(140, 100)), tmp_path / "given.png")
    restore_by_bands(one_layer(tile=48), tmp_path / "given.png", tmp_path / "out.dzi")
    assert 'Width="200"' in (tmp_path / "out.dzi").read_text()
    assert (tmp_path / "out_files" / "0" / "0_0.jpg").is_file()
    assert not hidden(tmp_path)


@pytest.fixture(scope="module")
def forking() -> Any:
    """Offer processes that have imported everything already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["swinir.jobs", "swinir.model"])
    return context


def run_until(forking: Any, source: Path, destination: Path, num_events: int | None) -> int:
    process = forking.Process(target=restore_until, args=(source, destination, num_events))
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("suffix", [".png", ".dzi"])
def test_run_killed_anywhere_again_and_again_ends_in_the_same_bytes(
    forking: Any, tmp_path: Path, suffix: str
) -> None:
    source, out = tmp_path / "given.png", tmp_path / f"out{suffix}"
    imaging.write(Image(pixels=noise(150, 60), alpha=noise(150, 60, 1)[:, :, 0]), source)
    restore_by_bands(one_layer(tile=32), source, tmp_path / f"straight{suffix}")
    event = 3
    while (status := run_until(forking, source, out, event)) == KILLED:
        event += 6
    assert status == 3
    assert event > 30
    assert out.read_bytes() == (tmp_path / f"straight{suffix}").read_bytes()
    if suffix == ".dzi":
        pairs = [(each, tmp_path / "straight_files") for each in (tmp_path / "out_files").rglob("*.png")]
        assert pairs
        assert all(
            one.read_bytes() == (other / one.relative_to(tmp_path / "out_files")).read_bytes()
            for one, other in pairs
        )
    assert not hidden(tmp_path)


class StoppedError(Exception):
    """Ends a run."""


def stop_after(num_calls: int) -> Any:
    count = 0

    def follow(_done: int, _total: int) -> None:
        nonlocal count
        count += 1
        if count > num_calls:
            raise StoppedError

    return follow


def begin(folder: Path, *, num_tiles: int = 30, **options: Any) -> tuple[Path, Path]:
    source, out = folder / "given.png", folder / "out.png"
    imaging.write(Image(pixels=noise(200, 50)), source)
    with pytest.raises(StoppedError):
        restore_by_bands(one_layer(tile=32), source, out, progress=stop_after(num_tiles), **options)
    assert not out.exists()
    return source, out


def tiles_done_again(folder: Path, source: Path, out: Path, **options: Any) -> int:
    restorer = one_layer(**{"tile": 32, **options})
    calls: list[int] = []
    restore_by_bands(restorer, source, out, progress=lambda done, _total: calls.append(done))
    assert not hidden(folder)
    return len(calls)


def test_finished_bands_are_not_done_again(tmp_path: Path) -> None:
    source, out = begin(tmp_path)
    assert len(hidden(tmp_path)) == 1
    num_again = tiles_done_again(tmp_path, source, out)
    out.unlink()
    assert num_again < tiles_done_again(tmp_path, source, out) / 2


def test_finished_bands_of_another_input_or_model_are_discarded(tmp_path: Path) -> None:
    source, out = begin(tmp_path)
    imaging.write(Image(pixels=255 - noise(200, 50)), source)
    num_calls = tiles_done_again(tmp_path, source, out)
    out.unlink()
    assert num_calls == tiles_done_again(tmp_path, source, out)
    other = tmp_path / "other"
    other.mkdir()
    begin(other)
    restorer = one_layer(scale=3, tile=32)
    restore_by_bands(restorer, other / "given.png", other / "out.png")
    restorer.restore_file(other / "given.png", other / "whole.png")
    assert (other / "out.png").read_bytes() == (other / "whole.png").read_bytes()


def test_rows_that_were_damaged_are_discarded(tmp_path: Path) -> None:
    source, out = begin(tmp_path)
    (folder,) = (tmp_path / name for name in hidden(tmp_path))
    (folder / "state.json").write_text('{"identity": 1, "load":')
    tiles_done_again(tmp_path, source, out)
    one_layer(tile=32).restore_file(source, tmp_path / "whole.png")
    assert out.read_bytes() == (tmp_path / "whole.png").read_bytes()


def test_run_that_was_ended_before_its_first_band_leaves_nothing(tmp_path: Path) -> None:
    begin(tmp_path, num_tiles=1)
    assert not hidden(tmp_path)


def test_two_runs_do_not_write_one_result(tmp_path: Path) -> None:
    source, out = begin(tmp_path)
    refused: list[str] = []

    def second(_done: int, _total: int) -> None:
        if not refused:
            with pytest.raises(ImageWriteError, match="another run") as caught:
                restore_by_bands(one_layer(tile=32), source, out)
            refused.append(str(caught.value))

    restore_by_bands(one_layer(tile=32), source, out, progress=second)
    assert refused
    assert out.exists()


def test_full_disk_is_a_sentence_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = tmp_path / "given.png", tmp_path / "out.png"
    imaging.write(Image(pixels=noise(200, 50)), source)
    left = 9

    def sync_until_full(_file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(finished.os, "fsync", sync_until_full)
        with pytest.raises(ImageWriteError, match="No space left"):
            restore_by_bands(one_layer(tile=32), source, out)
    num_again = tiles_done_again(tmp_path, source, out)
    out.unlink()
    assert num_again < tiles_done_again(tmp_path, source, out)


def test_what_cannot_be_done_is_refused_before_the_first_tile(tmp_path: Path) -> None:
    restorer = one_layer(tile=32)
    source = tmp_path / "given.png"
    imaging.write(Image(pixels=noise(20, 20)), source)
    with pytest.raises(ImageWriteError, match="the input itself"):
        restore_by_bands(restorer, source, source)
    with pytest.raises(ImageWriteError, match="names no image format"):
        restore_by_bands(restorer, source, tmp_path / "out.xyz")
    with pytest.raises(ImageTooLargeError, match="max_pixels"):
        restore_by_bands(restorer, source, tmp_path / "out.png", limits=Limits(max_pixels=399))
    with pytest.raises(ImageReadError, match="missing"):
        restore_by_bands(restorer, tmp_path / "missing.png", tmp_path / "out.png")
    assert not hidden(tmp_path)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pictures of more than 1,000 pixels be large."""
    monkeypatch.setattr("swinir.jobs.one_step.largest_whole_px", lambda _: 1_000)


def restore_one(source: Path, destination: Path, **options: Any) -> JobResult:
    job = Job(source=source, destination=destination, is_listed=False)
    (result,) = restore_files(one_layer(tile=32), [job], **options)
    return result


@pytest.mark.usefixtures("small_memory")
def test_large_file_goes_by_bands_by_itself_and_small_ones_and_many_pages_do_not(tmp_path: Path) -> None:
    imaging.write(Image(pixels=noise(60, 50)), tmp_path / "large.png")
    imaging.write(Image(pixels=noise(20, 20)), tmp_path / "small.png")
    pages = [Image(pixels=noise(60, 50)) for _ in range(2)]
    imaging.write_frames(iter(pages), tmp_path / "pages.tif", count=2, timing=None)
    counted: list[float] = []

    class Bar:
        def count_megapixels(self, total: float) -> None:
            counted.append(total)

        def __call__(self, done: int, total: int) -> None:
            pass

    for name in ("large.png", "small.png", "pages.tif"):
        result = restore_one(tmp_path / name, tmp_path / f"out_{name}", progress_of=lambda _: Bar())
        assert result.outcome is Outcome.DONE
    assert counted == [60 * 50 / 1e6]
    assert imaging.read_frames(tmp_path / "out_pages.tif").count == 2
    one_layer(tile=32).restore_file(tmp_path / "large.png", tmp_path / "whole.png")
    assert (tmp_path / "out_large.png").read_bytes() == (tmp_path / "whole.png").read_bytes()


@pytest.mark.usefixtures("small_memory")
def test_limit_that_is_asked_for_holds_for_large_files_and_the_usual_one_does_not(tmp_path: Path) -> None:
    imaging.write(Image(pixels=noise(60, 50)), tmp_path / "given.png")
    result = restore_one(tmp_path / "given.png", tmp_path / "out.png", limits=Limits(max_pixels=2_999))
    assert isinstance(result.error, ImageTooLargeError)
    assert not (tmp_path / "out.png").exists()
    assert streaming_limits(Limits(max_pixels=2_999)).max_pixels == 2_999
    assert streaming_limits(DEFAULT_LIMITS) == STREAM_LIMITS


def test_command_writes_deep_zoom_and_pyramids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imaging.write(Image(pixels=noise(40, 300)), tmp_path / "scan.png")
    common = ["--model", "lightweight-x2", "--device", "cpu", "--tile", "64"]
    assert main(["upscale", str(tmp_path / "scan.png"), "--format", "dzi", *common]) == 0
    assert (tmp_path / "scan_x2.dzi").is_file()
    assert (tmp_path / "scan_x2_files").is_dir()
    out = tmp_path / "scan.tif"
    assert (
        main(["upscale", str(tmp_path / "scan.png"), "-o", str(out), "--tiff-layout", "pyramid", *common])
        == 0
    )
    pyramid = pyvips.Image.new_from_file(str(out))
    assert pyramid.get("n-pages") > 1
    assert main(["upscale", str(tmp_path / "scan.png"), "--memory", "much", *common]) == 2
    assert "2G" in capsys.readouterr().err


def run_child(code: str, *arguments: Path) -> list[int]:
    """Run Python in a process of its own and return the numbers that it prints."""
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return [int(word) for word in run.stdout.split()]


GIANT = """
    import re, sys
    from pathlib import Path
    import numpy as np
    from giants import one_layer
    from swinir.engine.executor import RestoredTiles
    from swinir.jobs import restore_by_bands

    restorer = one_layer(in_channels=1)
    def enlarge(tiles, on_layers=None):
        result = RestoredTiles(np.stack(tiles).repeat(2, axis=1).repeat(2, axis=2), True)
        return lambda: result
    restorer.executor.send = enlarge
    # A network of the usual size, of which tiles take what they may.
    restorer.budget.cost = type(restorer.budget.choose(500, 500) and restorer.budget.cost)(
        fixed_bytes=0, bytes_per_px=1110
    )
    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    before = peak()
    restore_by_bands(restorer, sys.argv[1], sys.argv[2])
    print(before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_200_megapixels_take_400_mb_beyond_model_and_tile(tmp_path: Path) -> None:
    height, width = 5_000, 10_000
    ramp = (pyvips.Image.identity(ushort=True).crop(0, 0, width, 1) % 256).cast("uchar").replicate(1, height)
    ramp.write_to_file(str(tmp_path / "given.tif"))
    before, peak = run_child(GIANT, tmp_path / "given.tif", tmp_path / "out.tif")
    assert peak - before < 400e6
    written = pyvips.Image.new_from_file(str(tmp_path / "out.tif"))
    assert (written.height, written.width) == (2 * height, 2 * width)
    row = np.frombuffer(written.crop(0, 7_000, 2 * width, 1).write_to_memory(), np.uint8)
    assert np.array_equal(row, np.arange(width).astype(np.uint8).repeat(2))


WIDE = """
    import re, sys
    from pathlib import Path
    import numpy as np
    from swinir.imaging import Band, Header, Image, ImageReader, ImageWriter, TiffLayout

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    template = Image(pixels=np.zeros((1, 1, 1), np.uint8))
    header = Header(height=260, width=270_000, has_alpha=False, template=template, value_range=(0, 255))
    rows = Band(np.arange(270_000).astype(np.uint8)[None, :, None].repeat(26, axis=0), None)
    before = peak()
    with ImageWriter(Path(sys.argv[1]), header, layout=TiffLayout(sys.argv[2])) as writer:
        for _ in range(10):
            writer.append(rows)
        writer.finish()
    written, is_same = peak(), True
    if not sys.argv[1].endswith(".dzi"):
        with ImageReader(sys.argv[1]) as reader:
            is_same = all((band.pixels == rows.pixels[:1]).all() for band in reader.bands())
    print(before, written, int(is_same))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("name", "layout"), [("a.tif", "strips"), ("a.tif", "pyramid"), ("a.png", "strips"), ("a.dzi", "strips")]
)
def test_memory_does_not_grow_with_the_width_of_a_file(tmp_path: Path, name: str, layout: str) -> None:
    before, peak, is_same = run_child(WIDE, tmp_path / name, layout)
    assert is_same
    assert peak - before < 130e6


WIDE_ROWS = """
    import re, sys
    from pathlib import Path
    from swinir.imaging import NO_LIMITS, ImageReader

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    before = peak()
    with ImageReader(sys.argv[1], limits=NO_LIMITS) as reader:
        print(before, sum(len(band.pixels) for band in reader.bands()), peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    ("kind", "most"),
    [("none", 80e6), ("deflate", 80e6), ("lzw", 150e6), ("float", 150e6), ("png", 150e6)],
)
def test_memory_does_not_grow_with_the_width_of_rows(tmp_path: Path, kind: str, most: float) -> None:
    ramp = pyvips.Image.xyz(270_000, 448)[0].cast("uchar").copy(interpretation="b-w")
    path = tmp_path / "given"
    if kind == "png":
        ramp.pngsave(str(path))
    elif kind == "float":
        ramp.cast("float").tiffsave(str(path), compression="lzw", tile_height=16)
    else:
        ramp.tiffsave(str(path), compression=kind, **({"tile_height": 16} if kind == "lzw" else {}))
    before, num_rows, peak = run_child(WIDE_ROWS, path)
    assert num_rows == 448
    assert peak - before < most


def test_a_thousand_files_leave_no_memory_descriptor_or_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A disk takes its time.
    monkeypatch.setattr("os.fsync", lambda _: None)
    restorer = one_layer(tile=32)
    imaging.write(Image(pixels=noise(16, 12)), tmp_path / "given.png")
    process = psutil.Process()

    def restore(num_files: int) -> tuple[int, int, int]:
        for number in range(num_files):
            if number % 10:
                imaging.encode(restorer(imaging.read(tmp_path / "given.png")), "png")
            elif number % 20:
                restorer.restore_file(tmp_path / "given.png", tmp_path / "out.png")
            else:
                restore_by_bands(restorer, tmp_path / "given.png", tmp_path / "out.png")
        return process.memory_info().rss, process.num_fds(), process.num_threads()

    before = restore(60)
    after = restore(1000)
    assert after[0] - before[0] <= 32 * 2**20
    assert after[1] <= before[1]
    # Those of libvips end by themselves when they have been idle for some seconds.
    waited_until = time.monotonic() + 30
    while process.num_threads() > before[2] and time.monotonic() < waited_until:
        time.sleep(0.5)
    assert process.num_threads() <= before[2]


SHORTAGE = """
    import re, resource
    from pathlib import Path
    import numpy as np
    import torch
    from giants import one_layer
    from swinir.engine.cost import Cost

    torch.set_num_threads(1)
    restorer = one_layer(embed_dim=24)
    image = np.random.default_rng(0).integers(0, 256, (330, 330, 3), np.uint8)
    expected = restorer(image)
    # As if a pass took nothing: whole images and tiles are tried that do not fit.
    restorer.budget.cost = Cost(fixed_bytes=0, bytes_per_px=1)
    shapes = []
    send = restorer.executor.send
    def watched(tiles, on_layers=None):
        shapes.append(tiles[0].shape[0])
        return send(tiles, on_layers)
    restorer.executor.send = watched
    size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + 40_000_000, -1))
    restored = restorer(image)
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    assert np.abs(restored.astype(int) - expected).max() <= 1
    print(max(shapes), min(shapes))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the size of a process is read from /proc")
def test_shortage_of_a_process_makes_tiles_smaller_and_the_result_stays() -> None:
    largest, smallest = run_child(SHORTAGE)
    assert largest >= 330
    assert smallest < 250
