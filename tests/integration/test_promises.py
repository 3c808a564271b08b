"""What README, cards, docs and the set-up promise is true of this checkout."""

import json
import re
import tomllib
from pathlib import Path

import pytest

import swinir
from swinir.cli.main import main
from swinir.weights import Task, catalog

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BUNDLED = (
    "dejpeg",
    "denoise",
    "lightweight-x2",
    "lightweight-x3",
    "lightweight-x4",
    "real-x2",
    "real-x4-sharp",
    "real-x4",
)
# The goal of the first models: Set5, PSNR on Y.
LEAST_SET5_DB = {"lightweight-x2": 35.5, "lightweight-x3": 31.8, "lightweight-x4": 29.6}


def table_row(text: str, name: str) -> list[str]:
    """Return the cells of the row that begins with a name."""
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_package_carries_its_models_and_knows_what_they_are_for() -> None:
    models = catalog.bundled_models()
    assert tuple(models) == BUNDLED
    tasks = {name: model.task for name, model in models.items()}
    assert tasks.pop("dejpeg") is Task.JPEG
    assert tasks.pop("denoise") is Task.DENOISING
    assert tasks.pop("real-x2") is Task.REAL_SUPER_RESOLUTION
    assert tasks.pop("real-x4") is Task.REAL_SUPER_RESOLUTION
    assert tasks.pop("real-x4-sharp") is Task.REAL_SUPER_RESOLUTION
    assert set(tasks.values()) == {Task.SUPER_RESOLUTION}


@pytest.mark.parametrize("name", BUNDLED)
def test_figures_in_readme_and_card_are_those_measured(name: str) -> None:
    measured = json.loads((REPOSITORY / "benchmarks" / "results" / f"{name}.json").read_text())
    card = (REPOSITORY / "src" / "swinir" / "weights" / "bundled" / f"{name}.md").read_text(encoding="utf-8")
    stored = catalog.find_model(name).figures
    cells = table_row(README, name)
    assert len(measured["reports"]) <= 3
    for report, cell in zip(measured["reports"], cells[2:], strict=False):
        channel = "y" if report["scale"] > 1 else "rgb"
        psnr_db, ssim = report["means"][f"psnr_{channel}_db"], report["means"][f"ssim_{channel}"]
        text = f"{psnr_db:.2f} / {ssim:.4f}"
        assert cell == text
        assert f"| {report['data']} | {text} |" in card
        assert stored[report["data"]].psnr_db == round(psnr_db, 2)
        assert stored[report["data"]].ssim == round(ssim, 4)


@pytest.mark.parametrize("name", LEAST_SET5_DB)
def test_the_picture_of_quality_shows_the_models_of_the_package(name: str) -> None:
    document = json.loads((REPOSITORY / "benchmarks" / "results" / "quality.json").read_text())
    (report,) = [report for report in document["reports"] if report["model"] == name]
    figures = catalog.find_model(name).figures["Set5"]
    assert round(report["means"]["psnr_y_db"], 2) == figures.psnr_db, (
        "run the commands of benchmarks/README.md"
    )


@pytest.mark.parametrize("name", LEAST_SET5_DB)
def test_bundled_model_still_measures_what_it_says(shared: Path, name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    words = [
        "evaluate",
        "--model",
        name,
        "--data",
        f"Set5={shared / 'testsets' / 'Set5'}",
        "--json",
        str(report),
    ]
    assert main(words) == 0
    found_db = json.loads(report.read_text())["reports"][0]["means"]["psnr_y_db"]
    assert found_db == pytest.approx(catalog.find_model(name).figures["Set5"].psnr_db, abs=0.006)
    assert found_db >= LEAST_SET5_DB[name]


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_files_are_about_two_megabytes(name: str) -> None:
    assert 1_700_000 < catalog.resolve(name).path.stat().st_size < 2_200_000


def test_the_python_of_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert code is not None
    exec(compile(code[1], "README.md", "exec"), {})
    assert "(96, 128, 3)" in capsys.readouterr().out


def test_files_that_the_readme_links_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not link.startswith("http")]
    assert local
    assert all((REPOSITORY / link).exists() for link in local)


def test_rooms_of_the_readme_are_those_of_the_package() -> None:
    block = README.split("## Where things are")[1]
    named = set(re.findall(r"^  (\w+(?:\.py|/)) ", block, re.MULTILINE))
    package = REPOSITORY / "src" / "swinir"
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if not path.name.startswith(("__", "py.typed", "."))
    }
    assert named == rooms


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["version"] == swinir.__version__
    assert f"## {swinir.__version__} " in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_list_of_training_images_names_a_licence_for_each() -> None:
    lines = (REPOSITORY / "docs" / "training-images.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].split(",")[:4] == ["file", "source", "licence", "author"]
    assert len(lines) - 1 == 191
