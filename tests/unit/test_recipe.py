"""Recipes are read key by key: what is unknown, missing, of a wrong kind or impossible is named."""

from dataclasses import replace
from pathlib import Path

import pytest

from swinir.data import GaussianNoise
from swinir.errors import RecipeError
from swinir.model import VARIANTS
from swinir.options import Precision
from swinir.training import Recipe, read_recipe
from swinir.training.recipe import Decay

REPOSITORY = Path(__file__).resolve().parents[2]

LEAST = """
[model]
variant = "lightweight-x2"
[data]
train = "pictures"
[optimizer]
steps = 10
learning_rate = 1e-3
[run]
folder = "runs/a"
"""


def read(tmp_path: Path, *overrides: str, text: str = LEAST) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return read_recipe(path, overrides)


@pytest.mark.parametrize("path", sorted(REPOSITORY.glob("recipes/*.toml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_reads(path):
    assert read_recipe(path).model.variant in VARIANTS


def test_what_is_left_out_has_its_default(tmp_path):
    recipe = read(tmp_path)
    assert recipe.model.config == VARIANTS["lightweight-x2"]
    assert recipe.data.train == Path("pictures")
    assert recipe.data.validation == {}
    assert recipe.optimizer.decay is Decay.COSINE
    assert recipe.optimizer.betas == (0.9, 0.999)
    assert recipe.run.precision is Precision.AUTO


def test_overrides_are_toml_or_bare_text(tmp_path):
    recipe = read(
        tmp_path,
        "data.batch_size=16",
        "data.train = /else where/é",
        'data.validation={ Set5 = "five", "Set 14" = "fourteen" }',
        "data.validation.BSD=bsd",
        "optimizer.learning_rate=1",
        "optimizer.decay=milestones",
        "optimizer.milestones=[5, 8]",
        "model.fit_reconstruction=true",
        "run.precision=bf16",
    )
    assert recipe.data.batch_size == 16
    assert recipe.data.train == Path("/else where/é")
    assert recipe.data.validation == {"Set5": Path("five"), "Set 14": Path("fourteen"), "BSD": Path("bsd")}
    assert recipe.optimizer.learning_rate == 1.0
    assert recipe.optimizer.decay is Decay.MILESTONES
    assert recipe.optimizer.milestones == (5, 8)
    assert recipe.model.fit_reconstruction
    assert recipe.run.precision is Precision.BF16


def test_fields_of_a_variant_are_changed(tmp_path):
    config = read(tmp_path, "model.changes.depths=[2, 2]", "model.changes.num_heads=[3, 3]").model.config
    assert config == replace(VARIANTS["lightweight-x2"], depths=(2, 2), num_heads=(3, 3))


def test_recipes_are_utf8_whatever_the_locale(tmp_path):
    assert read(tmp_path, text=LEAST.replace("pictures", "Bilder/é")).data.train == Path("Bilder/é")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.batchsize=3", r"'data\.batchsize'.*did you mean 'batch_size'"),
        ("optimiser.steps=3", r"'optimiser'.*did you mean 'optimizer'"),
        ("model.zzz=3", r"'model\.zzz'.*known are variant"),
        ("model.variant=lightweight_x2", "did you mean 'lightweight-x2'"),
        (
            "model.variant=color-denoise",
            "'color-denoise' does not enlarge, but degradation.kind is 'bicubic'",
        ),
        ("model.variant=3", r"model\.variant is 3, but must be text"),
        ("data.batch_size=2.0", r"data\.batch_size is 2\.0, but must be a whole number"),
        ("data.batch_size=true", r"data\.batch_size is True, but must be a whole number"),
        ("data.batch_size=many", r"data\.batch_size is 'many', but must be a whole number"),
        ("data.batch_size=0", r"data\.batch_size is 0, but must be at least 1"),
        ("data.crop_px=-1", r"data\.crop_px is -1"),
        ("data.train=5", r"data\.train is 5, but must be a path"),
        ("data.validation=five", r"data\.validation is 'five', but must be a table of paths"),
        ("data.validation.Set5=5", r"data\.validation\.Set5 is 5, but must be a path"),
        ("optimizer.steps=0", r"optimizer\.steps is 0"),
        ("optimizer.learning_rate=0", r"optimizer\.learning_rate is 0"),
        ("optimizer.learning_rate=nan", r"optimizer\.learning_rate is nan"),
        ("optimizer.learning_rate=inf", r"optimizer\.learning_rate is inf"),
        ("optimizer.learning_rate=fast", r"optimizer\.learning_rate is 'fast', but must be a number"),
        ("optimizer.warmup_steps=-1", r"optimizer\.warmup_steps is -1"),
        ("optimizer.gradient_clip=-0.5", r"optimizer\.gradient_clip is -0\.5"),
        ("optimizer.ema_decay=1", r"optimizer\.ema_decay is 1\.0"),
        ("optimizer.ema_decay=-0.1", r"optimizer\.ema_decay is -0\.1"),
        ("optimizer.betas=[0.9]", r"optimizer\.betas is \[0\.9\]"),
        ("optimizer.betas=[0.9, 1.0]", r"optimizer\.betas is \[0\.9, 1\.0\]"),
        ("optimizer.betas=0.9", r"optimizer\.betas is 0\.9, but must be a list of numbers"),
        ("optimizer.milestones=[1.5]", r"optimizer\.milestones is 1\.5, but must be a whole number"),
        ("optimizer.decay=milestones", r"optimizer\.milestones names none"),
        (
            "optimizer.decay=cosin",
            r"optimizer\.decay is 'cosin', but must be one of 'cosine', 'linear', 'milestones'",
        ),
        ("degradation.kind=noise", r"degradation\.kind 'noise' needs degradation\.sigma"),
        ("degradation.sigma=[15]", r"degradation\.kind 'bicubic' has no degradation\.sigma"),
        ("degradation.kind=blur", r"must be one of 'bicubic', 'noise', 'jpeg', 'bsrgan', 'real-world'"),
        ("loss.pixel=l2", r"loss\.pixel is 'l2', but must be one of 'l1', 'charbonnier'"),
        ("loss.pixel_weight=0", r"every weight of \[loss\] is 0"),
        ("loss.gan_weight=-1", r"loss\.gan_weight is -1\.0"),
        ("optimizer.accumulate=3", r"batch_size 32 does not divide into optimizer\.accumulate 3 parts"),
        ("model.drop_path=1", r"model\.drop_path is 1\.0, but must be at least 0 and at most 0\.9"),
        ("model.changes=5", r"model\.changes is 5, but must be a table"),
        ("model.changes.depth=[2]", r"'model\.changes\.depth'.*did you mean 'depths'"),
        ("model.changes.depths=[2]", r"no network of 'lightweight-x2': depths .* must name the same"),
        ("model.changes.embed_dim=wide", "no network of 'lightweight-x2'"),
        ("data.sampling=places", r"must be one of 'pixels', 'images'"),
        ("run.compilation=true", r"run\.compilation is True, but must be one of 'auto', 'on', 'off'"),
        ("run.precision=fp16", r"run\.precision is 'fp16'.*choose 'auto', 'fp32' or 'bf16'"),
        ("run.seed=-1", r"run\.seed is -1"),
        ("run.log_every=0", r"run\.log_every is 0"),
        ("run=5", "run is 5, but must be a table"),
        ("data.train.deep=5", r"'train' in 'data\.train\.deep=5' is not a table"),
        ("data.batch_size", r"'data\.batch_size' changes nothing"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, override, complaint):
    with pytest.raises(RecipeError, match=complaint):
        read(tmp_path, override)


DENOISER = ("model.variant=color-denoise", "degradation.kind=noise")


@pytest.mark.parametrize("sigma", ["[25]", "[0, 50]"])
def test_one_level_or_the_least_and_the_greatest_are_read(tmp_path, sigma):
    recipe = read(tmp_path, *DENOISER, f"degradation.sigma={sigma}")
    expected = {"[25]": (25.0, 25.0), "[0, 50]": (0.0, 50.0)}[sigma]
    assert recipe.degradation.degradation == GaussianNoise(sigma=expected)
    # Validation is in the middle unless told.
    assert recipe.degradation.level == 25.0


@pytest.mark.parametrize("sigma", ["[50, 0]", "[1, 2, 3]", "[-1, 5]", "[0, 256]"])
def test_levels_that_are_no_range_are_named(tmp_path, sigma):
    with pytest.raises(RecipeError, match=r"degradation\.sigma is"):
        read(tmp_path, *DENOISER, f"degradation.sigma={sigma}")


def test_perceptual_losses_are_for_colour(tmp_path):
    grey = ("model.variant=gray-denoise", "degradation.kind=noise", "degradation.sigma=[15]")
    with pytest.raises(RecipeError, match="'gray-denoise' is grey, but the recipe needs colour"):
        read(tmp_path, *grey, "loss.perceptual_weight=1")


def test_fitting_a_reconstruction_that_is_not_linear_is_refused_before_training(tmp_path):
    with pytest.raises(RecipeError, match=r"fit_reconstruction .*'classical-x2'"):
        read(tmp_path, "model.variant=classical-x2", "model.fit_reconstruction=true")


@pytest.mark.parametrize("line", ['variant = "lightweight-x2"', 'train = "pictures"', "steps = 10", "[run]"])
def test_what_is_missing_is_named(tmp_path, line):
    text = LEAST.replace(line, "").replace(
        'folder = "runs/a"', 'folder = "runs/a"' if line != "[run]" else ""
    )
    name = line.split(" ")[0].strip("[]")
    with pytest.raises(RecipeError, match=rf"lacks '(\w+\.)?{name}'"):
        read(tmp_path, text=text)


PAIRS = (
    LEAST.replace('train = "pictures"', 'train_lq = "low"\ntrain_hq = "high"')
    + "[degradation]\nkind = 'pairs'\n"
)


def test_own_pairs_are_two_folders(tmp_path):
    recipe = read(tmp_path, text=PAIRS)
    assert (recipe.data.train_lq, recipe.data.train_hq) == (Path("low"), Path("high"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("data.train=photos", r"degradation.kind 'pairs' has no data.train: leave it out"),
        ("degradation.kind=bicubic", r"lacks 'data.train'"),
    ],
)
def test_pairs_and_pictures_are_not_mixed(tmp_path, change, complaint):
    with pytest.raises(RecipeError, match=complaint):
        read(tmp_path, change, text=PAIRS)


def test_half_of_the_pairs_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"lacks 'data\.train_hq'"):
        read(tmp_path, text=PAIRS.replace('train_hq = "high"', ""))


@pytest.mark.parametrize("content", [b"[model", b"\xff\xfe", b"a = 1\na = 2"])
def test_a_file_that_is_no_toml_is_named(tmp_path, content):
    (tmp_path / "broken.toml").write_bytes(content)
    with pytest.raises(RecipeError, match=r"broken\.toml"):
        read_recipe(tmp_path / "broken.toml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.toml"):
        read_recipe(tmp_path / "nowhere.toml")


def test_a_recipe_cannot_be_changed(tmp_path):
    with pytest.raises(AttributeError):
        read(tmp_path).optimizer.steps = 5  # pyright: ignore[reportAttributeAccessIssue]
