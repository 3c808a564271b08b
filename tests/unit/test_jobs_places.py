"""Files elsewhere through the same jobs: named by URLs, fetched, and published whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from giants import one_layer
from swinir import imaging
from swinir.cli.main import main
from swinir.engine import FileRestoration, Restorer
from swinir.errors import ImageReadError, ImageWriteError, MissingPackageError, UsageError
from swinir.jobs import JobResult, Outcome, places, plan_jobs, restore_files
from swinir.jobs.staging import Staging
from swinir.options import TiffLayout
from swinir.urls import name_of, path_of, url_of

pytestmark = pytest.mark.usefixtures("one_thread")


class Renaming(MemoryFileSystem):
    """A store where files are written piece by piece, which does not rename over a file."""

    protocol = "renaming"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("renaming://"))

    def mv(self, path1: str, path2: str, **given: Any) -> None:
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **given)


fsspec.register_implementation("renaming", Renaming, clobber=True)


@pytest.fixture(params=["memory", "renaming"])
def store(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Offer an empty store."""
    system = fsspec.filesystem(request.param)
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20 + seed, 17, 3), dtype=np.uint8)
    return imaging.encode(imaging.Image(pixels=pixels), "png")[0]


def fill(store: Any, *names: str) -> str:
    """Put pictures into a store, and return its address."""
    for seed, name in enumerate(names):
        store.pipe_file(f"/scans/{name}", picture(seed))
    return f"{store.protocol if isinstance(store.protocol, str) else store.protocol[0]}://"


def restore(restorer: Restorer, *inputs: str, output: str, **options: Any) -> dict[str, JobResult]:
    plan = plan_jobs(inputs, output=output, label="x2")
    return {name_of(result.job.source): result for result in restore_files(restorer, plan, **options)}


@pytest.mark.parametrize(
    "url", ["s3://bucket/a/b.png", "hdfs://node:8020/x y.png", "hdfs:///x.png", "memory://a", "gs://b"]
)
def test_a_url_survives_as_a_path(url: str) -> None:
    assert url_of(path_of(url)) == url
    assert imaging.shown_path(path_of(url)) == url


@pytest.mark.parametrize("name", ["a/b.png", "/a", "C:/x", "-", "hf:owner/name", "scans/**/*.png"])
def test_other_names_are_paths(name: str) -> None:
    assert path_of(name) == Path(name)
    assert url_of(Path(name)) is None


def test_a_file_url_is_a_path() -> None:
    assert path_of("file:///tmp/a.png") == Path("/tmp/a.png")


def test_folders_elsewhere_are_restored_as_folders_here(store: Any, tmp_path: Path) -> None:
    url = fill(store, "a.png", "b/c.png", ".hidden.png", "notes.txt")
    here = tmp_path / "scans"
    store.get("/scans", str(here), recursive=True)
    restorer = one_layer()
    results = restore(restorer, f"{url}scans", output=f"{url}large/deep")
    assert [result.outcome for result in results.values()] == 2 * [Outcome.DONE], results
    restore(restorer, str(here), output=str(tmp_path / "large"))
    for name in ("a_x2.png", "b/c_x2.png"):
        assert store.cat_file(f"/large/deep/{name}") == (tmp_path / "large" / name).read_bytes()
    assert len(store.find("/large")) == 2


def test_a_second_run_skips_what_is_done_and_notices_what_changed(store: Any) -> None:
    url, restorer = fill(store, "a.png", "b.png"), one_layer()
    restore(restorer, f"{url}scans", output=f"{url}scans")
    again = restore(restorer, f"{url}scans", output=f"{url}scans")
    assert {name: result.outcome for name, result in again.items()} == {
        f"{url}scans/a.png": Outcome.SKIPPED,
        f"{url}scans/b.png": Outcome.SKIPPED,
    }
    store.pipe_file("/scans/b.png", picture(9))
    changed = restore(restorer, f"{url}scans", output=f"{url}scans")[f"{url}scans/b.png"]
    assert "another version of" in str(changed.error)
    made = restore(restorer, f"{url}scans", output=f"{url}scans", update=True)
    assert {result.outcome for result in made.values()} == {Outcome.SKIPPED, Outcome.DONE}
    result = imaging.read(store.cat_file("/scans/b_x2.png"))
    assert result.height == 2 * 29


def test_patterns_and_single_files(store: Any, tmp_path: Path) -> None:
    url, restorer = fill(store, "a.png", "b/c.png", "b/d.jpg"), one_layer()
    matched = restore(restorer, f"{url}scans/**/*.png", output=str(tmp_path / "out"))
    assert sorted(matched) == [f"{url}scans/a.png", f"{url}scans/b/c.png"]
    assert (tmp_path / "out" / "b" / "c_x2.png").exists()
    source = tmp_path / "here.png"
    source.write_bytes(picture(3))
    restore(restorer, str(source), output=f"{url}made/large.png")
    assert imaging.read(store.cat_file("/made/large.png")).height == 2 * 23


def test_tiles_of_a_page_are_there_before_it(store: Any) -> None:
    url = fill(store, "a.png")
    restore(one_layer(), f"{url}scans/a.png", output=f"{url}made/a.dzi")
    assert store.exists("/made/a.dzi")
    assert store.exists("/made/a_files/0/0_0.jpeg") or store.exists("/made/a_files/0/0_0.jpg")


def test_pyramids_go_by_bands(store: Any) -> None:
    url = fill(store, "a.png")
    (result,) = restore(
        one_layer(), f"{url}scans/a.png", output=f"{url}made/a.tif", layout=TiffLayout.PYRAMID
    ).values()
    assert result.outcome is Outcome.DONE
    assert store.exists("/made/a.tif")


def test_a_run_that_was_ended_goes_on_with_files_elsewhere(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    url = fill(store)
    pixels = np.random.default_rng(0).integers(0, 256, (160, 24, 3), dtype=np.uint8)
    store.pipe_file("/scans/tall.png", imaging.encode(imaging.Image(pixels=pixels), "png")[0])
    restorer, seen = one_layer(tile=32), list[int]()

    def made(*, ends_at: int, output: str) -> JobResult:
        def follow(done: int, _: int) -> None:
            seen.append(done)
            if done >= ends_at:
                raise KeyboardInterrupt

        given: dict[str, Any] = {"layout": TiffLayout.TILES, "progress_of": lambda _: follow}
        [result] = restore(restorer, f"{url}scans/tall.png", output=output, **given).values()
        return result

    with pytest.raises(KeyboardInterrupt):
        made(ends_at=8, output=f"{url}out/a.tif")
    assert not store.exists("/out/a.tif")
    seen.clear()
    assert made(ends_at=10**9, output=f"{url}out/a.tif").outcome is Outcome.DONE
    assert seen[1] > 0
    made(ends_at=10**9, output=str(tmp_path / "whole.tif"))
    assert store.cat_file("/out/a.tif") == (tmp_path / "whole.tif").read_bytes()
    assert [path for path in (tmp_path / "temporary").rglob("*") if path.is_file()] == []


def test_two_runs_do_not_work_on_one_result_elsewhere(store: Any) -> None:
    url = fill(store, "a.png")
    [job] = plan_jobs([f"{url}scans/a.png"], output=f"{url}out/a.png", label="x2")
    file = FileRestoration(source=job.source, destination=job.destination)
    first = Staging(job)
    first.fetch(file)
    [second] = restore(one_layer(), f"{url}scans/a.png", output=f"{url}out/a.png").values()
    assert "another run" in str(second.error)
    first.remove()
    [third] = restore(one_layer(), f"{url}scans/a.png", output=f"{url}out/a.png").values()
    assert third.outcome is Outcome.DONE


def test_what_goes_wrong_names_the_url_and_leaves_nothing_here(
    store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    url = fill(store, "a.png")
    store.pipe_file("/scans/bad.png", b"no picture")
    results = restore(one_layer(), f"{url}scans", f"{url}scans/gone.png", output=f"{url}out")
    assert results[f"{url}scans/a.png"].outcome is Outcome.DONE
    assert str(results[f"{url}scans/bad.png"].error).startswith(f"{url}scans/bad.png")
    assert str(results[f"{url}scans/gone.png"].error) == f"{url}scans/gone.png cannot be read (no such file)"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_store_that_refuses_is_an_error_of_that_file(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no\n credentials")

    url = fill(store, "a.png")
    monkeypatch.setattr(type(store), "put_file", refuse)
    (result,) = restore(one_layer(), f"{url}scans/a.png", output=f"{url}out/a.png").values()
    assert isinstance(result.error, ImageWriteError)
    assert str(result.error) == f"{url}out/a.png cannot be written (no credentials)"


def test_drivers_that_are_missing_or_unknown_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: str) -> Any:
        raise ImportError("Install s3fs to access S3")

    with pytest.raises(UsageError, match="nothing://x"):
        places.exists(path_of("nothing://x"))
    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MissingPackageError, match="Install s3fs"):
        places.exists(path_of("s3://bucket/x"))


def test_a_folder_that_cannot_be_listed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("forbidden")

    monkeypatch.setattr(MemoryFileSystem, "isdir", refuse)
    with pytest.raises(ImageReadError, match="forbidden"):
        plan_jobs(["memory://scans"], label="x2")


def test_the_command_line_takes_urls(store: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = fill(store, "a.png")
    assert main(["upscale", f"{url}scans", "-o", f"{url}out", "--scale", "2", "--json"]) == 0
    assert f'"destination": "{url}out/a_x2.png"' in capsys.readouterr().out
    assert store.exists("/out/a_x2.png")
