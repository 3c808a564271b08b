"""Recipes are read key by key: what is unknown, missing, of a wrong kind or impossible is named."""

from pathlib import Path

import pytest

from swinir.errors import RecipeError
from swinir.model import VARIANTS
from swinir.training import Recipe, read_recipe
from swinir.training.recipe import ComputePrecision, Decay

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
    assert recipe.run.precision is ComputePrecision.AUTO


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
    assert recipe.run.precision is ComputePrecision.BF16


def test_recipes_are_utf8_whatever_the_locale(tmp_path):
    assert read(tmp_path, text=LEAST.replace("pictures", "Bilder/é")).data.train == Path("Bilder/é")


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("data.batchsize=3", r"'data\.batchsize'.*did you mean 'batch_size'"),
        ("optimiser.steps=3", r"'optimiser'.*did you mean 'optimizer'"),
        ("model.zzz=3", r"'model\.zzz'.*known are variant"),
        ("model.variant=lightweight_x2", "did you mean 'lightweight-x2'"),
        ("model.variant=color-denoise", "'color-denoise' does not enlarge, but degradation.kind is 'bicubic'"),
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
        ("optimizer.decay=cosin", r"optimizer\.decay is 'cosin', but must be one of 'cosine', 'linear', 'milestones'"),
        ("run.precision=fp16", r"run\.precision is 'fp16', but must be one of 'auto', 'fp32', 'bf16'"),
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
