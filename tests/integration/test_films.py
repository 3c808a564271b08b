"""Films from file to file: the same frames at the same times, all that is beside them, and again after a kill."""

import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from films import HEIGHT, WIDTH, decode, identity, packets, write_film
from giants import one_layer
from swinir import film, imaging
from swinir.cli.main import main
from swinir.errors import (
    ImageReadError,
    ImageTooLargeError,
    ImageWriteError,
    MissingPackageError,
    UsageError,
)
from swinir.jobs import Outcome, estimate_work, plan_jobs, restore_files
from swinir.jobs.film import restore_film
from swinir.options import FilmOptions, VideoCodec
from swinir.weights import save_checkpoint

av = pytest.importorskip("av", reason="needs PyAV")
pytestmark = pytest.mark.usefixtures("one_thread")
LOSSLESS = FilmOptions(codec=VideoCodec.FFV1)
# Of variable rate, and with a first frame that is not shown at 0.
TIMES = (80, 120, 161, 203, 300, 340, 420, 440, 441, 500)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "SEGMENT_FRAMES", 4)


def opened(path: Path) -> Any:
    return av.open(str(path))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "gbrp10le"])
def test_frames_that_the_network_keeps_come_out_as_they_were_at_their_times(
    tmp_path: Path, pixel_format: str
) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES, codec="ffv1", pixel_format=pixel_format)
    assert restore_film(identity(), source, tmp_path / "b.mkv", options=LOSSLESS) == ()
    before, after = decode(source), decode(tmp_path / "b.mkv")
    assert [time for time, _ in after] == [time for time, _ in before] == [Fraction(t, 1000) for t in TIMES]
    for (_, old), (_, new) in zip(before, after, strict=True):
        assert np.array_equal(old[0], new[0])  # luma; with chroma of lower resolution, means of means
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_segments_with_b_frames_are_one_film(tmp_path: Path, suffix: str) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES, sound="aac")
    target = tmp_path / f"b{suffix}"
    restore_film(identity(), source, target, options=FilmOptions(crf=8))
    before, after = decode(source), decode(target)
    first = after[0][0] - before[0][0]  # Matroska has no time below 0, which sound may begin at
    assert [time - first for time, _ in after] == [time for time, _ in before]
    for (_, old), (_, new) in zip(before, after, strict=True):
        assert np.abs(old[0].astype(int) - new[0]).mean() < 1
    assert packets(source, "audio") == packets(target, "audio")
    with opened(target) as container:
        decoded = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
    assert decoded == sorted(set(decoded))


def test_enlarged_film_has_larger_frames(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES[:3])
    restore_film(one_layer(scale=2), source, tmp_path / "b.mkv")
    assert decode(tmp_path / "b.mkv")[0][1][0].shape == (2 * HEIGHT, 2 * WIDTH)


def test_ten_bits_hdr_and_tags_of_colours_are_kept(tmp_path: Path) -> None:
    light = (
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=900,400"
    )
    source = write_film(
        tmp_path / "a.mkv",
        times=TIMES[:2],
        codec="libx265",
        pixel_format="yuv420p10le",
        options={"x265-params": f"log-level=none:bframes=0:lossless=1:hdr10=1:repeat-headers=1:{light}"},
        color_primaries=9,
        color_trc=16,
        colorspace=9,
        color_range=1,
    )
    assert restore_film(identity(), source, tmp_path / "b.mp4") == ()
    with opened(tmp_path / "b.mp4") as container:
        frame = next(container.decode(video=0))
        assert frame.format.name == "yuv420p10le"
        assert (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range) == (9, 16, 9, 1)
        assert container.streams.video[0].codec_tag == "hvc1"
        numbers = struct.unpack("=22i", bytes(frame.side_data["MASTERING_DISPLAY_METADATA"]))
        assert [round(numbers[i] / numbers[i + 1], 4) for i in (0, 2, 18)] == [0.68, 0.32, 1000]
        assert struct.unpack("=2I", bytes(frame.side_data["CONTENT_LIGHT_LEVEL"])) == (900, 400)
    before, after = decode(source), decode(tmp_path / "b.mp4")
    assert np.abs(before[0][1][0].astype(int) - after[0][1][0]).mean() < 4  # of 1023


def test_turning_and_shape_of_pixels_are_kept(tmp_path: Path) -> None:
    source = write_film(
        tmp_path / "a.mp4",
        times=TIMES[:2],
        sample_aspect_ratio=Fraction(16, 15),
        set_up=lambda _, video: video.set_display_rotation(90, hflip=True),
    )
    restore_film(identity(), source, tmp_path / "b.mov")
    with opened(source) as old, opened(tmp_path / "b.mov") as new:
        before, after = next(old.decode(video=0)), next(new.decode(video=0))
        assert bytes(after.side_data["DISPLAYMATRIX"]) == bytes(before.side_data["DISPLAYMATRIX"])
        assert new.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, \
Bold, Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def add_all(container: Any, video: Any) -> None:
    """Add chapters, tags, subtitles and a font."""
    chapter = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}
    container.set_chapters([chapter])
    container.metadata["title"] = "A film"
    video.metadata["language"] = "fra"
    text = container.add_stream("mov_text" if container.format.name == "mp4" else "subrip")
    text.metadata["language"] = "deu"
    text.codec_context.time_base = Fraction(1, 1000)
    text.codec_context.subtitle_header = ASS_HEADER
    if container.format.name == "matroska":
        container.add_attachment("a.ttf", "font/ttf", b"letters")
    line = av.subtitles.subtitle.SubtitleSet.create(b"0,0,Default,,0,0,0,,Hello", 0, 100)
    packet = text.codec_context.encode_subtitle(line)
    packet.time_base, packet.pts, packet.dts, packet.duration = Fraction(1, 1000), 100, 100, 100
    packet.stream = text
    container.mux(packet)


@pytest.mark.parametrize(
    ("source_suffix", "suffix", "num_notes"), [(".mkv", ".mkv", 0), (".mp4", ".mkv", 0), (".mkv", ".mp4", 1)]
)
def test_what_is_beside_the_frames_is_kept(
    tmp_path: Path, source_suffix: str, suffix: str, num_notes: int
) -> None:
    source = write_film(tmp_path / f"a{source_suffix}", times=TIMES[:2], sound="aac", set_up=add_all)
    target = tmp_path / f"b{suffix}"
    assert len(restore_film(identity(), source, target)) == num_notes
    with opened(target) as container:
        assert container.metadata["title"] == "A film"
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]
        assert container.streams.video[0].metadata["language"] == "fra"
        assert container.streams.audio[0].codec_context.name == "aac"
        text = container.streams.subtitles[0]
        assert text.metadata["language"] == "deu"
        shown = [(packet, text.decode2(packet)) for packet in container.demux(text) if packet.size]
        assert [read[0].dialogue for _, read in shown if read is not None] == [b"Hello"]
        fonts = [stream.data for stream in container.streams if stream.type == "attachment"]
        assert fonts == ([b"letters"] if (source_suffix, suffix) == (".mkv", ".mkv") else [])


def set_flag(video: Any, name: str) -> None:
    video.codec_context.flags |= av.codec.context.Flags[name]


def test_interlaced_film_is_refused_or_made_whole(tmp_path: Path) -> None:
    source = write_film(
        tmp_path / "a.mkv", times=TIMES, set_up=lambda _, video: set_flag(video, "interlaced_dct")
    )
    with pytest.raises(ImageReadError, match="interlaced: add --deinterlace"):
        restore_film(identity(), source, tmp_path / "b.mkv")
    assert hidden(tmp_path) == []
    restore_film(identity(), source, tmp_path / "b.mkv", options=FilmOptions(deinterlace=True))
    assert [time for time, _ in decode(tmp_path / "b.mkv")] == [time for time, _ in decode(source)]


class StoppedError(Exception):
    """Somebody has stopped the run."""


def test_stopped_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES, sound="aac")
    restore_film(identity(), source, tmp_path / "whole.mkv")
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        assert total == len(TIMES)
        seen.append(done)
        if done == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        restore_film(identity(), source, tmp_path / "b.mkv", progress=stop)
    assert not (tmp_path / "b.mkv").exists()
    seen.clear()
    restore_film(identity(), source, tmp_path / "b.mkv", progress=lambda done, _: seen.append(done))
    assert seen == list(range(4, len(TIMES) + 1))
    assert decoded_bytes(tmp_path / "b.mkv") == decoded_bytes(tmp_path / "whole.mkv")
    assert packets(tmp_path / "b.mkv", "video") == packets(tmp_path / "whole.mkv", "video")
    assert hidden(tmp_path) == []


def decoded_bytes(path: Path) -> list[tuple[Fraction, bytes]]:
    return [(time, b"".join(plane.tobytes() for plane in planes)) for time, planes in decode(path)]


@pytest.mark.parametrize(
    ("name", "codec", "options", "deinterlace", "most_before"),
    [
        ("a.mp4", "libx264", {"g": "6", "bf": "2", "x264-params": "open-gop=1"}, False, 16),
        ("a.mkv", "libx264", {"x264-params": "intra-refresh=1:keyint=6"}, False, 99),
        ("a.avi", "mpeg4", {"g": "6", "bf": "2"}, True, 16),
    ],
)
def test_frames_behind_those_that_are_done_are_the_same_and_found_by_key_frames(
    tmp_path: Path, *, name: str, codec: str, options: dict[str, str], deinterlace: bool, most_before: int
) -> None:
    source = write_film(tmp_path / name, times=range(0, 1600, 40), codec=codec, options=options)
    with film.FilmReader(source, deinterlace=deinterlace) as reader:
        decode_frames, num_decoded = reader._decode, 0

        def count(start: int | None = None) -> Iterator[Any]:
            nonlocal num_decoded
            for frame in decode_frames(start):
                num_decoded += 1
                yield frame

        reader._decode = count
        whole = list(reader.frames())
        for num_done in (1, 30, 31, 39):
            num_decoded = 0
            rest = list(reader.frames(done=[frame.pts for frame in whole[:num_done]]))
            assert [frame.pts for frame in rest] == [frame.pts for frame in whole[num_done:]]
            for frame, same in zip(rest, whole[num_done:], strict=True):
                assert np.array_equal(frame.pixels, same.pixels)
            assert num_decoded <= len(rest) + most_before


def test_run_with_other_quality_begins_again(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES)

    def stop(done: int, _: int) -> None:
        if done == 6:
            raise StoppedError

    with pytest.raises(StoppedError):
        restore_film(identity(), source, tmp_path / "b.mkv", progress=stop)
    seen: list[int] = []
    options = FilmOptions(crf=30)
    restore_film(
        identity(), source, tmp_path / "b.mkv", options=options, progress=lambda done, _: seen.append(done)
    )
    assert seen[0] == 0


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
import torch
from films import identity
from swinir import film, imaging
from swinir.jobs.film import restore_film
torch.set_num_threads(1)
film.SEGMENT_FRAMES = 4
def kill(done, total):
    if done == 6:
        os.kill(os.getpid(), signal.SIGKILL)
restore_film(identity(), Path(sys.argv[1]), Path(sys.argv[2]), progress=kill)
"""


def test_killed_run_goes_on(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES)
    target = tmp_path / "b.mkv"
    path = [str(Path(__file__).parent.parent), *sys.path]
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {path!r}{KILLED_RUN}",
        str(source),
        str(target),
    ]
    assert subprocess.run(command, check=False).returncode == -9
    seen: list[int] = []
    restore_film(identity(), source, target, progress=lambda done, _: seen.append(done))
    assert seen[0] == 4
    assert [time for time, _ in decode(target)] == [time for time, _ in decode(source)]


def test_container_that_does_not_take_the_sound_is_refused_before_the_work(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES[:2], sound="aac")
    with pytest.raises(ImageWriteError, match=r"b\.webm cannot hold the film's sound \(aac\): choose \.mkv"):
        restore_film(identity(), source, tmp_path / "b.webm", progress=lambda *_: pytest.fail("restored"))
    assert hidden(tmp_path) == []


def test_codec_that_does_not_take_the_bits_is_refused(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES[:2], codec="ffv1", pixel_format="yuv420p10le")
    with pytest.raises(ImageWriteError, match="libvpx-vp9, which takes no 4:2:0 of 10 bits"):
        restore_film(
            identity(), source, tmp_path / "b.webm", options=FilmOptions(codec=VideoCodec.LIBVPX_VP9)
        )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (FilmOptions(codec=VideoCodec.FFV1, crf=3), "crf is 3, but ffv1 has none"),
        (FilmOptions(crf=60), "crf is 60: libx264 takes 0 to 51"),
        (FilmOptions(codec=VideoCodec.PRORES, preset="fast"), "preset is fast, but prores_ks has none"),
        (FilmOptions(preset="warp"), "preset is warp, which libx264 does not have: choose of ultrafast"),
        (FilmOptions(codec=VideoCodec.LIBSVTAV1, preset="fast"), "preset is fast, .* choose of 0, 1"),
    ],
)
def test_choice_that_a_codec_does_not_have_is_refused(
    tmp_path: Path, options: FilmOptions, problem: str
) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES[:2])
    with pytest.raises(UsageError, match=problem):
        restore_film(identity(), source, tmp_path / "b.mkv", options=options)


def test_film_is_restored_by_the_command_whatever_it_is_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_film(tmp_path / "a.mp4", times=TIMES[:2], size=(16, 16)).rename(tmp_path / "a.jpg")
    network = tmp_path / "tiny.safetensors"
    save_checkpoint(network, identity().config, identity().forward_pass.copy_parameters())
    command = ["dejpeg", str(tmp_path / "a.jpg"), "-m", str(network), "-o"]
    assert main([*command, str(tmp_path / "b.png")]) == 1
    assert "b.png names no film that can be written" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "b.mkv"), "--crf", "30", "--preset", "ultrafast"]) == 0
    assert len(decode(tmp_path / "b.mkv")) == 2


def test_frames_of_a_film_count_in_estimates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(tmp_path / "a.mkv", times=TIMES, size=(32, 16))
    monkeypatch.setattr("swinir.jobs.estimate._LEAST_PX", {"cpu": 0})
    ticks = iter([0.0, 96 * 96.0])
    plan = plan_jobs([tmp_path / "a.mkv"], label="x2")
    work = estimate_work(plan, [one_layer()], clock=lambda: next(ticks))
    assert work is not None
    # Of a variable rate, whose frames are counted by duration and average rate.
    frames, rest = divmod(work.input_px, 16 * 32)
    assert (work.output_px, work.num_tiles, rest) == (4 * work.input_px, frames, 0)
    assert frames == pytest.approx(len(TIMES), abs=5)


def test_what_a_limit_or_the_disk_does_not_allow_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES[:2])
    target = tmp_path / "b.mkv"
    with pytest.raises(ImageTooLargeError, match="64 × 48 pixels and the limit is 100 in all"):
        restore_film(identity(), source, target, limits=imaging.Limits(max_pixels=100))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1))
    with pytest.raises(ImageWriteError, match=r"b\.mkv would take about 0 MB and 0 MB are free"):
        restore_film(identity(), source, target, progress=lambda *_: pytest.fail("restored"))
    assert hidden(tmp_path) == []


def test_films_elsewhere_are_restored_as_films_here(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = fsspec.filesystem("memory")
    write_film(tmp_path / "a.mp4", times=TIMES[:2], size=(16, 16))
    write_film(tmp_path / "b.avi", times=TIMES[:2], size=(16, 16), codec="mpeg4")
    for name in ("a.mp4", "b.avi"):
        store.pipe_file(f"/films/{name}", (tmp_path / name).read_bytes())
    for outcome in (Outcome.DONE, Outcome.SKIPPED):
        plan = plan_jobs(["memory://films"], output="memory://made", label="x2", include=["*.mp4", "*.avi"])
        assert [job.destination.name for job in plan] == ["a_x2.mp4", "b_x2.mkv"]
        results = list(restore_files(one_layer(scale=2), plan))
        assert [(result.outcome, result.error) for result in results] == [(outcome, None)] * 2
    with pytest.raises(ImageReadError, match="has no image files"):
        plan_jobs(["memory://films"], label="x2")
    store.rm("/films", recursive=True)
    store.rm("/made", recursive=True)


def test_without_pyav_a_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_film(tmp_path / "a.mkv", times=TIMES[:2])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'swinir\[film\]'"):
        restore_film(identity(), source, tmp_path / "b.mkv")


def test_damaged_film_is_a_sentence(tmp_path: Path) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES[:2])
    source.write_bytes(source.read_bytes()[:60])
    with pytest.raises(ImageReadError, match=r"film .*a\.mp4 cannot be read"):
        restore_film(identity(), source, tmp_path / "b.mkv")


def test_film_that_is_cut_short_is_restored_as_far_as_it_goes_with_a_note(tmp_path: Path) -> None:
    source = write_film(
        tmp_path / "10:30.mkv", times=range(0, 20_000, 400), options={"g": "5"}, size=(16, 16)
    )
    source.write_bytes(source.read_bytes()[:-1500])
    [note] = restore_film(one_layer(scale=2), source, tmp_path / "1:2.mkv")
    assert "The film states 20 s and its last frame is at" in note
    assert 10 < len(decode((tmp_path / "1:2.mkv").rename(tmp_path / "b.mkv"))) < 45


def test_films_of_a_pattern_are_restored_once_and_those_of_a_folder_where_they_are_meant(
    tmp_path: Path,
) -> None:
    source = write_film(tmp_path / "a.mp4", times=TIMES[:2], size=(16, 16))
    restorer = one_layer(scale=2)
    for suffix in (".mkv", ".mp4"):
        plan = plan_jobs([f"{tmp_path}/*"], label="x2", suffix=suffix)
        assert [job.source for job in plan] == [source]
        assert [result.outcome for result in restore_files(restorer, plan)] == [Outcome.DONE]
    again = plan_jobs([f"{tmp_path}/*"], label="x2")
    assert [result.outcome for result in restore_files(restorer, again)] == [Outcome.SKIPPED]
    [refused] = restore_files(restorer, again, film=FilmOptions(crf=30))
    assert "was made by other settings" in str(refused.error)
    assert [job.source for job in plan_jobs([tmp_path], label="x2", include=["*.mp4"])] == [source]
    with pytest.raises(ImageReadError, match="has no image files"):
        plan_jobs([tmp_path], label="x2")


LONG = """
    import re, sys
    from pathlib import Path
    import torch
    from films import write_film
    from giants import one_layer
    from swinir.jobs.film import restore_film

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    torch.set_num_threads(1)
    folder, restorer = Path(sys.argv[1]), one_layer(2)
    for number in (80, 640):
        film = write_film(folder / f"{number}.mp4", times=range(0, 40 * number, 40))
        restore_film(restorer, film, folder / f"{number}_x2.mkv")
        print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_memory_does_not_grow_with_the_length_of_a_film(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LONG), str(tmp_path)]
    run = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert run.returncode == 0, run.stderr
    short, long = map(int, run.stdout.split())
    # Eight times the frames, of which 560 take 15 MB as RGB.
    assert long - short < 8e6
