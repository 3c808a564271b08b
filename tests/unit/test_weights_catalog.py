"""Every released model has a name, and a name or a path leads to its file."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import torch

from swinir.errors import CheckpointError, DownloadError, UnknownModelError
from swinir.model import VARIANTS, SwinIR, Upsampler
from swinir.weights import catalog, load_checkpoint, save_checkpoint
from swinir.weights.records import Figures, Origin, Task
from swinir.weights.released import released_models

RELEASED = released_models()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("SWINIR_CACHE", str(folder))
    return folder


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bundled"
    folder.mkdir()
    monkeypatch.setattr(catalog, "_bundled_folder", lambda: folder)
    return folder


def bundle(folder: Path, name: str, variant: str, metadata: dict[str, str]) -> None:
    config = VARIANTS[variant]
    with torch.device("meta"):
        shapes = SwinIR(config).state_dict()
    state = {key: torch.zeros(tensor.shape) for key, tensor in shapes.items()}
    save_checkpoint(folder / f"{name}.safetensors", config, state, dtype=torch.float16, metadata=metadata)


def test_all_primary_checkpoints_and_those_for_fine_tuning_are_named() -> None:
    primary = [name for name in RELEASED if not name.endswith("-finetune")]
    assert len(primary) == 31
    assert len(RELEASED) == 37


def test_names_are_kebab_case_and_files_differ() -> None:
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name) for name in RELEASED)
    assert len({model.file for model in RELEASED.values()}) == len(RELEASED)


def test_published_names_leave_the_plain_ones_to_the_package() -> None:
    assert not {"lightweight-x2", "lightweight-x3", "lightweight-x4"} & RELEASED.keys()


def test_records_agree_with_their_networks() -> None:
    for model in RELEASED.values():
        config = VARIANTS[model.variant or ""]
        assert model.scale == config.scale
        assert (config.upsampler is Upsampler.NONE) == (model.strength is not None)
        assert (config.upsampler is Upsampler.NEAREST_CONV) == (model.task is Task.REAL_SUPER_RESOLUTION)
        assert (config.image_range == 255) == (model.task is Task.JPEG)


def test_records_say_how_many_parameters_their_networks_have() -> None:
    for model in RELEASED.values():
        with torch.device("meta"):
            network = SwinIR(VARIANTS[model.variant or ""])
        assert sum(parameter.numel() for parameter in network.parameters()) == model.parameters


def test_the_paper_told_fewer_parameters_of_the_lightweight_models_than_they_have() -> None:
    told = {name: model.parameters_told for name, model in RELEASED.items() if model.parameters_told}
    assert told == {
        f"published-lightweight-x{scale}": count
        for scale, count in ((2, 878_000), (3, 886_000), (4, 897_000))
    }
    assert all(count < (RELEASED[name].parameters or 0) for name, count in told.items())


def test_a_file_that_was_found_knows_its_name_its_licence_and_its_hash() -> None:
    file = catalog.resolve("lightweight-x2")
    assert (file.name, file.licence, file.revision) == ("lightweight-x2", "Apache-2.0", None)
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert catalog.resolve(file) is file
    assert load_checkpoint(file)[0] == VARIANTS["lightweight-x2"]


def test_a_released_file_is_known_by_its_hash() -> None:
    model = RELEASED["color-jpeg-40"]
    assert catalog.find_release(model.sha256 or "") is model
    assert catalog.find_release("0" * 64) is None


def test_a_path_opens_no_other_file(tmp_path: Path, bundled: Path) -> None:
    (bundled / "broken.safetensors").write_bytes(b"not a file of weights")
    (tmp_path / "mine.pth").touch()
    assert catalog.resolve(tmp_path / "mine.pth").name == "mine"


def test_hashes_are_whole_and_belong_to_one_file_each() -> None:
    hashes = [model.sha256 for model in RELEASED.values() if model.sha256]
    assert len(hashes) == len(set(hashes)) == 19
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in hashes)


@pytest.mark.parametrize(
    ("name", "file", "test_set", "figures"),
    [
        ("classical-x2-df2k", "001_classicalSR_DF2K_s64w8_SwinIR-M_x2.pth", "Set5", (38.42, 0.9623, None)),
        (
            "classical-x4-div2k",
            "001_classicalSR_DIV2K_s48w8_SwinIR-M_x4.pth",
            "Manga109",
            (31.67, 0.9226, None),
        ),
        (
            "published-lightweight-x4",
            "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x4.pth",
            "Urban100",
            (26.47, 0.7980, None),
        ),
        ("gray-denoise-25", "004_grayDN_DFWB_s128w8_SwinIR-M_noise25.pth", "BSD68", (29.50, None, None)),
        ("color-denoise-50", "005_colorDN_DFWB_s128w8_SwinIR-M_noise50.pth", "Kodak24", (29.79, None, None)),
        ("gray-jpeg-40", "006_CAR_DFWB_s126w7_SwinIR-M_jpeg40.pth", "LIVE1", (34.67, 0.9317, 33.88)),
        ("color-jpeg-10", "006_colorCAR_DFWB_s126w7_SwinIR-M_jpeg10.pth", "LIVE1", (28.06, 0.8089, 27.76)),
    ],
)
def test_published_figures_are_those_of_the_paper(
    name: str, file: str, test_set: str, figures: tuple[float | None, ...]
) -> None:
    model = catalog.find_model(name)
    assert model.file == file
    assert model.url == f"https://github.com/JingyunLiang/SwinIR/releases/download/v0.0/{file}"
    assert model.figures[test_set] == figures


def test_models_without_published_figures_have_none() -> None:
    without = {model.task for model in RELEASED.values() if not model.figures and model.scale != 8}
    assert without == {Task.REAL_SUPER_RESOLUTION}


def test_package_without_bundled_files_lists_the_published(bundled: Path) -> None:
    bundled.rmdir()
    assert catalog.bundled_models() == {}
    assert catalog.all_models() == dict(RELEASED)


def test_bundled_model_tells_what_it_is(bundled: Path) -> None:
    figures = {"Set5": [37.9, 0.96], "Set14": [33.5]}
    bundle(bundled, "lightweight-x2", "lightweight-x2", {"figures": json.dumps(figures), "licence": "CC0"})
    model = catalog.find_model("lightweight-x2")
    assert (model.origin, model.task, model.scale) == (Origin.BUNDLED, Task.SUPER_RESOLUTION, 2)
    assert model.figures == {"Set5": Figures(37.9, 0.96), "Set14": Figures(33.5)}
    assert model.licence == "CC0"
    assert catalog.is_available(model)
    assert load_checkpoint(catalog.resolve("lightweight-x2"))[0] == VARIANTS["lightweight-x2"]


def test_bundled_models_come_first(bundled: Path) -> None:
    bundle(bundled, "lightweight-x4", "lightweight-x4", {})
    assert next(iter(catalog.all_models())) == "lightweight-x4"


@pytest.mark.parametrize("figures", ["{", "[]", '{"Set5": 3}', '{"Set5": [1, 2, 3, 4]}'])
def test_unreadable_figures_are_an_error(bundled: Path, figures: str) -> None:
    bundle(bundled, "lightweight-x2", "lightweight-x2", {"figures": figures})
    with pytest.raises(CheckpointError, match="figures"):
        catalog.bundled_models()


def test_name_that_looks_like_a_path_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pth").touch()
    (tmp_path / "mine").touch()
    assert catalog.resolve("mine.pth").path == Path("mine.pth")
    assert catalog.resolve("mine").path == Path("mine")
    assert catalog.resolve(str(tmp_path / "mine")).path == tmp_path / "mine"
    assert catalog.resolve(tmp_path / "mine").path == tmp_path / "mine"


def test_file_named_as_a_model_does_not_hide_it(
    tmp_path: Path, bundled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    bundle(bundled, "lightweight-x2", "lightweight-x2", {})
    (tmp_path / "lightweight-x2").mkdir()
    assert catalog.resolve("lightweight-x2").path == bundled / "lightweight-x2.safetensors"
    assert catalog.resolve("./lightweight-x2/../lightweight-x2").path == Path(
        "lightweight-x2/../lightweight-x2"
    )


def test_downloaded_model_is_found(cache: Path) -> None:
    model = RELEASED["color-jpeg-40"]
    assert not catalog.is_available(model)
    (cache / model.file).touch()
    assert catalog.is_available(model)
    assert catalog.resolve("color-jpeg-40").path == cache / model.file


def test_published_model_that_is_not_here_says_how_to_get_it() -> None:
    with pytest.raises(UnknownModelError, match="`swinir models download classical-x4-df2k`"):
        catalog.resolve("classical-x4-df2k")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("clasical-x2-df2k", "classical-x2-df2k"),
        ("real-x4-gam", "real-x4-gan"),
        ("color_jpeg_40", "color-jpeg-40"),
        ("models/classical-x4-df2k.pth", "classical-x4-df2k"),
    ],
)
def test_unknown_name_brings_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownModelError, match=f"but .*{nearest}"):
        catalog.resolve(name)


def test_name_too_long_for_a_file_is_unknown() -> None:
    with pytest.raises(UnknownModelError):
        catalog.resolve("q" * 5000)


def test_name_like_no_other_is_unknown() -> None:
    with pytest.raises(UnknownModelError, match="no model named 'qqq': see"):
        catalog.resolve("qqq")


def test_a_user_without_a_home_has_no_downloads_and_is_told_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("SWINIR_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "expanduser", fail)
    model = catalog.find_model("classical-x4-df2k")
    assert not catalog.is_available(model)
    with pytest.raises(DownloadError, match=r"no home folder .* set SWINIR_CACHE"):
        catalog.resolve(model.name)
