"""The recipes of the repository are what their names, their headers, the paper and the table in the docs say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from swinir.model import VARIANTS
from swinir.options import Precision
from swinir.training import Recipe, read_recipe
from swinir.training.recipe import Decay, DegradationKind, PixelLoss
from swinir.weights.catalog import bundled_models, resolve
from swinir.weights.checkpoint import read_header
from swinir.weights.released import released_models

REPOSITORY = Path(__file__).resolve().parents[2]
FILES: Mapping[str, Path] = {path.stem: path for path in sorted(REPOSITORY.glob("recipes/*.toml"))}
RECIPES: Mapping[str, Recipe] = {name: read_recipe(path) for name, path in FILES.items()}
WEIGHTS = "last.safetensors"

SR = (250_000, 400_000, 450_000, 475_000)
SR_TUNED = (125_000, 200_000, 225_000, 237_500)
REAL = (500_000, 800_000, 900_000, 950_000)
REAL_GAN = (400_000, 500_000, 550_000, 575_000)
SAME_SIZE = (800_000, 1_200_000, 1_400_000, 1_500_000)
SAME_SIZE_TUNED = (400_000, 600_000, 700_000, 750_000)


class Published(NamedTuple):
    """What a published model was trained with; ``loss``: "l1", "charbonnier", or "gan" for all three parts."""

    steps: int
    batch_size: int
    crop_px: int
    learning_rate: float
    milestones: tuple[int, ...]
    loss: str
    start: str


# From the published trainer's option files and its authors' notes on fine-tuning, not from the recipes.
PAPER: Mapping[str, Published] = {
    "lightweight_x2": Published(500_000, 64, 64, 2e-4, SR, "l1", ""),
    "lightweight_x3": Published(250_000, 64, 64, 1e-4, SR_TUNED, "l1", "lightweight_x2"),
    "lightweight_x4": Published(250_000, 64, 64, 1e-4, SR_TUNED, "l1", "lightweight_x2"),
    "classical_x2_s48": Published(500_000, 32, 48, 2e-4, SR, "l1", ""),
    "classical_x3_s48": Published(250_000, 32, 48, 1e-4, SR_TUNED, "l1", "classical_x2_s48"),
    "classical_x4_s48": Published(250_000, 32, 48, 1e-4, SR_TUNED, "l1", "classical_x2_s48"),
    "classical_x8_s48": Published(250_000, 32, 48, 1e-4, SR_TUNED, "l1", "classical_x2_s48"),
    "classical_x2_s64": Published(500_000, 32, 64, 2e-4, SR, "l1", ""),
    "classical_x3_s64": Published(250_000, 32, 64, 1e-4, SR_TUNED, "l1", "classical_x2_s64"),
    "classical_x4_s64": Published(250_000, 32, 64, 1e-4, SR_TUNED, "l1", "classical_x2_s64"),
    "classical_x8_s64": Published(250_000, 32, 64, 1e-4, SR_TUNED, "l1", "classical_x2_s64"),
    "real_m_x4_psnr": Published(1_000_000, 32, 64, 2e-4, REAL, "l1", ""),
    "real_m_x4_gan": Published(600_000, 32, 64, 1e-4, REAL_GAN, "gan", "real_m_x4_psnr"),
    "real_m_x2_psnr": Published(1_000_000, 32, 64, 2e-4, REAL, "l1", ""),
    "real_m_x2_gan": Published(600_000, 32, 64, 1e-4, REAL_GAN, "gan", "real_m_x2_psnr"),
    "real_l_x4_psnr": Published(1_000_000, 32, 64, 2e-4, REAL, "l1", ""),
    "real_l_x4_gan": Published(600_000, 32, 64, 1e-4, REAL_GAN, "gan", "real_l_x4_psnr"),
    "gray_denoise_15": Published(1_600_000, 8, 128, 2e-4, SAME_SIZE, "charbonnier", ""),
    "gray_denoise_25": Published(800_000, 8, 128, 1e-4, SAME_SIZE_TUNED, "charbonnier", "gray_denoise_15"),
    "gray_denoise_50": Published(800_000, 8, 128, 1e-4, SAME_SIZE_TUNED, "charbonnier", "gray_denoise_15"),
    "color_denoise_15": Published(1_600_000, 8, 128, 2e-4, SAME_SIZE, "charbonnier", ""),
    "color_denoise_25": Published(800_000, 8, 128, 1e-4, SAME_SIZE_TUNED, "charbonnier", "color_denoise_15"),
    "color_denoise_50": Published(800_000, 8, 128, 1e-4, SAME_SIZE_TUNED, "charbonnier", "color_denoise_15"),
    "gray_jpeg_40": Published(1_600_000, 8, 126, 2e-4, SAME_SIZE, "charbonnier", ""),
    "gray_jpeg_10": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "gray_jpeg_40"),
    "gray_jpeg_20": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "gray_jpeg_40"),
    "gray_jpeg_30": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "gray_jpeg_40"),
    "color_jpeg_40": Published(1_600_000, 8, 126, 2e-4, SAME_SIZE, "charbonnier", ""),
    "color_jpeg_10": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "color_jpeg_40"),
    "color_jpeg_20": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "color_jpeg_40"),
    "color_jpeg_30": Published(800_000, 8, 126, 1e-4, SAME_SIZE_TUNED, "charbonnier", "color_jpeg_40"),
}
OURS = {
    *(f"{pace}_lightweight_x{scale}" for pace in ("cpu", "fast", "distilled") for scale in (2, 3, 4)),
    "denoise",
    "dejpeg",
    "real_x2",
    "real_x4",
    "real_x4_bsrgan",
    "finetune",
}

# What a file's name promises: pattern, variant, degradation; the last group of a level is sigma or quality.
PROMISES: tuple[tuple[str, str, DegradationKind], ...] = (
    (r"(?:cpu_|fast_)?(lightweight)_(x[234])", "{0}-{1}", DegradationKind.BICUBIC),
    (r"distilled_(lightweight)_(x[234])", "{0}-{1}", DegradationKind.PAIRS),
    (r"(classical)_(x[2348])_s(?:48|64)", "{0}-{1}", DegradationKind.BICUBIC),
    (r"(real)_([ml])_(x[24])_(?:psnr|gan)", "{0}-{1}-{2}", DegradationKind.BSRGAN),
    (r"(gray|color)_denoise_(?:15|25|50)", "{0}-denoise", DegradationKind.NOISE),
    (r"(gray|color)_jpeg_(?:10|20|30|40)", "{0}-jpeg", DegradationKind.JPEG),
    (r"denoise", "lightweight-denoise", DegradationKind.NOISE),
    (r"dejpeg", "lightweight-jpeg", DegradationKind.JPEG),
    (r"finetune", "lightweight-denoise", DegradationKind.PAIRS),
    (r"real_(x[24])", "lightweight-{0}", DegradationKind.PAIRS),
    (r"real_x4_bsrgan", "lightweight-x4", DegradationKind.REAL_WORLD),
)

each_recipe = pytest.mark.parametrize("name", FILES)
each_of_the_paper = pytest.mark.parametrize("name", PAPER)


def header(name: str) -> str:
    """Return the comment that a file begins with, its line breaks undone."""
    head = FILES[name].read_text(encoding="utf-8").split("\n[", maxsplit=1)[0]
    return " ".join(re.sub(r"^# *", "", line) for line in head.splitlines())


def test_there_is_a_recipe_for_every_model_of_the_paper_and_for_ours():
    assert set(FILES) == set(PAPER) | OURS


@each_recipe
def test_variant_and_degradation_are_those_of_the_name(name):
    promised = [
        (variant.format(*match.groups()), kind)
        for pattern, variant, kind in PROMISES
        if (match := re.fullmatch(pattern, name))
    ]
    recipe = RECIPES[name]
    assert promised == [(recipe.model.variant, recipe.degradation.kind)]


@pytest.mark.parametrize("name", [name for name in PAPER if re.search(r"_(denoise|jpeg)_", name)])
def test_a_level_is_that_of_the_name(name):
    degradation = RECIPES[name].degradation
    assert (*degradation.sigma, *degradation.quality) == (int(name.rpartition("_")[2]),)


def test_models_for_any_strength_see_the_whole_range():
    assert RECIPES["denoise"].degradation.sigma == (0, 50)
    assert RECIPES["dejpeg"].degradation.quality == (10, 95)


@each_of_the_paper
def test_a_recipe_of_the_paper_is_what_was_published(name):
    recipe, told = RECIPES[name], PAPER[name]
    optimizer = recipe.optimizer
    assert (optimizer.steps, recipe.data.batch_size, recipe.data.crop_px) == told[:3]
    assert optimizer.learning_rate == told.learning_rate
    assert optimizer.milestones == told.milestones
    assert recipe.model.start_from == (f"runs/{told.start}/{WEIGHTS}" if told.start else "")


@each_of_the_paper
def test_a_recipe_of_the_paper_minimises_what_was_published(name):
    loss, told = RECIPES[name].loss, PAPER[name].loss
    weights = (loss.pixel_weight, loss.perceptual_weight, loss.gan_weight)
    assert weights == ((1, 1, 0.1) if told == "gan" else (1, 0, 0))
    assert loss.pixel is (PixelLoss.CHARBONNIER if told == "charbonnier" else PixelLoss.L1)
    if told == "charbonnier":
        assert loss.charbonnier_epsilon**2 == pytest.approx(1e-9, rel=1e-12)
    if told == "gan":
        assert (loss.discriminator_learning_rate, loss.discriminator_steps_before) == (1e-4, 0)


@each_of_the_paper
def test_what_all_published_models_share(name):
    recipe = RECIPES[name]
    optimizer = recipe.optimizer
    assert (optimizer.decay, optimizer.decay_factor) == (Decay.MILESTONES, 0.5)
    assert (optimizer.warmup_steps, optimizer.gradient_clip) == (0, 0)
    assert (optimizer.betas, optimizer.ema_decay) == ((0.9, 0.999), 0.999)
    assert recipe.model.drop_path == 0.1
    assert not recipe.model.fit_reconstruction
    assert recipe.run.precision is Precision.AUTO


@each_of_the_paper
def test_every_milestone_is_passed_before_the_end(name):
    optimizer = RECIPES[name].optimizer
    assert list(optimizer.milestones) == sorted(set(optimizer.milestones))
    assert optimizer.milestones[-1] < optimizer.steps


@each_recipe
def test_crops_are_whole_windows(name):
    recipe = RECIPES[name]
    assert recipe.data.crop_px % recipe.model.config.window_size == 0


def test_no_two_runs_share_a_folder():
    assert {name: recipe.run.folder for name, recipe in RECIPES.items()} == {
        name: Path("runs", name) for name in FILES
    }


@pytest.mark.parametrize("name", [name for name, recipe in RECIPES.items() if recipe.model.start_from])
def test_what_a_run_starts_from_is_another_runs_weights_or_in_the_package(name):
    model = RECIPES[name].model
    makers = [
        other.model.config
        for other in RECIPES.values()
        if other.run.folder / WEIGHTS == Path(model.start_from) and other is not RECIPES[name]
    ]
    if model.start_from in bundled_models():
        makers.append(read_header(resolve(model.start_from))[0])
    assert [config.embed_dim for config in makers] == [model.config.embed_dim]


@pytest.mark.parametrize("name", [name for name, told in PAPER.items() if told.loss == "gan"])
def test_a_gan_stage_starts_from_the_same_network(name):
    assert RECIPES[name].model.variant == RECIPES[PAPER[name].start].model.variant


def test_the_three_short_lightweight_runs_fit_an_hour_at_3000_crops_per_second():
    crops = sum(
        recipe.optimizer.steps * recipe.data.batch_size
        for name, recipe in RECIPES.items()
        if name.startswith("fast_lightweight")
    )
    assert 0.75 * 3600 < crops / 3000 < 3600


@each_recipe
def test_the_header_names_the_command_of_its_own_file(name):
    commands = re.findall(r"train recipes/(\S+)\.toml", header(name))
    assert commands
    assert set(commands) == {name}


@each_recipe
def test_recipes_that_a_header_names_exist(name):
    assert set(re.findall(r"recipes/(\w+)\.toml", header(name))) <= set(FILES)


@each_recipe
def test_changes_that_a_header_offers_are_possible(name):
    changes = [change.rstrip(";,.") for change in re.findall(r"\b[a-z]+\.\w+(?:\.\w+)?=\S*", header(name))]
    assert changes
    assert read_recipe(FILES[name], changes) != RECIPES[name]


@each_of_the_paper
def test_a_header_says_hardware_and_what_to_expect(name):
    assert "Hardware: one H100, about " in header(name)
    assert "an estimate" in header(name)
    assert "Expected: " in header(name)


def published_name(name: str) -> str:
    """Return the published model that a recipe makes again."""
    name = re.sub(r"^lightweight", "published-lightweight", name)
    name = re.sub(
        r"^real_m_(x\d)_(\w+)", r"real_\1_\2", re.sub(r"^real_l_(x\d)_(\w+)", r"real_\1_\2_large", name)
    )
    return name.replace("_s48", "_div2k").replace("_s64", "_df2k").replace("_", "-")


@each_of_the_paper
def test_expected_figures_are_those_published(name):
    model = released_models()[published_name(name)]
    assert model.scale == VARIANTS[RECIPES[name].model.variant].scale
    told = re.findall(r"(\w+) (\d\d\.\d\d)(?=,| dB)", header(name))
    assert dict(told) == {data: f"{figures.psnr_db:.2f}" for data, figures in model.figures.items()}


def test_the_table_of_the_docs_lists_every_recipe_once_and_no_other():
    text = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\(\.\./recipes/(\w+)\.toml\)", text, re.MULTILINE)
    assert sorted(name for name, _ in listed) == sorted(FILES)
    assert all(name == file for name, file in listed)


@each_recipe
def test_the_table_of_the_docs_says_start_steps_and_crops(name):
    text = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| [{name}]"))
    _, _, start, steps, crops, _, _ = (cell.strip() for cell in row.strip("|").split(" | "))
    recipe = RECIPES[name]
    origin = Path(recipe.model.start_from)
    assert start.startswith(
        f"`{origin.parent.name or origin.name}`" if recipe.model.start_from else "scratch"
    )
    assert int(steps.replace(",", "")) == recipe.optimizer.steps
    assert crops == f"{recipe.data.batch_size} × {recipe.data.crop_px}²"
