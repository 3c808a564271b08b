"""What the pages of docs/ say can be done, and that their site builds with every link leading somewhere."""

import json
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

from swinir import SwinIR, SwinIRConfig, imaging
from swinir.cli.main import build_app, main
from swinir.weights import catalog, write_official

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *REPOSITORY.glob("README*.md")])
GENERATED = DOCS / "commands.md"
# Pages whose Python runs.
RUNNING = ("research.md", "own-weights.md", "tutorials/python.md")


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def list_commands(text: str) -> list[list[str]]:
    """List the words of each line of a page's blocks that begins with ``swinir``, comments left out."""
    blocks = "\n".join(re.findall(r"^```(?:console)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    lines = blocks.replace("\\\n", " ").splitlines()
    return [line.partition("  #")[0].split() for line in lines if line.startswith("swinir ")]


def list_python(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def load_script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, DOCS / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a small picture, alone and in a folder, the current one."""
    photo = imaging.read(REPOSITORY / "examples" / "chelsea.png").pixels[80:120, 100:148]
    (tmp_path / "pictures").mkdir()
    for place in ("photo.png", "pictures/photo.png"):
        imaging.write(imaging.Image(pixels=photo), tmp_path / place)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_exist_with_their_options(page: Path) -> None:
    for _, *words in list_commands(read(page)):
        command: Any = typer.main.get_command(build_app(words))
        while hasattr(command, "commands"):
            assert words[0] in command.commands, words
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        asked = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert asked <= known, words


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    assert read(GENERATED) == load_script("commands").write_page(), "run python docs/site/commands.py"


@pytest.mark.parametrize("name", RUNNING)
def test_the_python_of_a_page_runs(name: str, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = SwinIRConfig(
        scale=2, in_channels=3, embed_dim=4, depths=(2,), num_heads=(2,), upsampler="pixelshuffledirect"
    )
    with torch.random.fork_rng():
        write_official("some_swinir.pth", config, SwinIR(config).state_dict())
    values: dict[str, object] = {}
    blocks = list_python(read(DOCS / name))
    assert blocks
    for block in blocks:
        exec(compile(block, name, "exec"), values)


def test_the_tutorial_of_measuring_runs(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    page = read(DOCS / "tutorials" / "measure.md")
    for _, *words in list_commands(page):
        assert main(words) == 0, words
    assert all((pictures / name).stat().st_size for name in ("report.html", "page.html", "quality.svg"))
    capsys.readouterr()
    for block in list_python(page):
        exec(compile(block, "measure.md", "exec"), {})
    assert re.fullmatch(r"lightweight-x2 Own \d\d\.\d+\n", capsys.readouterr().out)


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY / "examples")
    cells = json.loads(read(REPOSITORY / "examples" / "swinir.ipynb"))["cells"]
    values: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "swinir.ipynb", "exec"), values)
    assert values["figures"]["lightweight-x2"] > values["figures"]["bicubic"]


def test_files_for_vs_mlrt_have_the_names_of_the_published_ones() -> None:
    rows = re.findall(r"`swinir export (\S+) -o models/swinir/(\S+)\.onnx`", read(DOCS / "other-programs.md"))
    assert rows
    assert all(catalog.find_model(name).url.endswith(f"/{stem}.pth") for name, stem in rows)


def test_pictures_of_the_documentation_are_light() -> None:
    pictures = [path for path in DOCS.rglob("*") if path.suffix in {".png", ".webp", ".svg", ".jpg"}]
    assert sum(path.stat().st_size for path in pictures) < 1_000_000


@pytest.mark.slow
def test_the_site_builds_with_every_link(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    words = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [sys.executable, *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Restorer" in read(tmp_path / "site" / "api.html")
    assert not re.search(
        r"(src|href)=\"https?://[^\"]+\.(js|css|woff2?)\"", read(tmp_path / "site" / "index.html")
    )
