"""What restores, as the command line asks for it: models on devices, and how that is announced."""

from fractions import Fraction
from math import prod

from swinir.cli.choices import RestoringOptions
from swinir.engine import MODEL_OF_SCALE, RUNTIMES, Enlarger, Restorer, TargetSize, choose_devices
from swinir.engine.enlarge import choose_passes
from swinir.errors import UsageError
from swinir.options import RestorerOptions


def load(name: str, options: RestoringOptions) -> list[Restorer]:
    """Load a model once for each device that is meant; other runtimes have names of their own for theirs."""
    chosen, white = options.restorer, options.image_range
    if options.ray is not None:
        return [Restorer.from_pretrained(name, _for_names(chosen), image_range=white)]
    if chosen.backend in RUNTIMES:
        return [Restorer.from_pretrained(name, chosen, image_range=white)]
    devices = choose_devices(chosen.device)
    return [Restorer.from_pretrained(name, chosen, image_range=white, device=each) for each in devices]


def load_enlarging(
    options: RestoringOptions,
    *,
    scale: Fraction | None,
    width: int | None,
    height: int | None,
    max_side: int | None,
) -> tuple[list[Restorer] | list[Enlarger], str]:
    """Load what makes a size, for each device that is meant; return it and the label of the size.

    Raises:
        UsageError: the size is unclear or impossible.
    """
    given = None if options.model is None else load(options.model, options)
    if scale == width == height == max_side is None:
        assert given is not None
        return given, f"x{given[0].scale}" if given[0].scale > 1 else "restored"
    size = TargetSize(scale=scale, width=width, height=height, max_side=max_side)
    if given is not None:
        if given[0].scale == 1:
            raise UsageError(f"the model {given[0].name} does not enlarge: leave out --model or the size")
        if size.scale == given[0].scale:
            return given, size.label
        return [Enlarger(size, each.options, models={each.scale: each}) for each in given], size.label
    for known, name in MODEL_OF_SCALE.items():
        if size.scale == known:
            return load(name, options), size.label
    chosen = options.restorer
    if options.ray is not None:
        return [Enlarger(size, _for_names(chosen))], size.label
    return [Enlarger(size, chosen, device=each) for each in choose_devices(chosen.device)], size.label


def _for_names(chosen: RestorerOptions) -> RestorerOptions:
    """Return options of what computes nothing: where workers do, it is for names, sizes and parameters."""
    return RestorerOptions(device="cpu", ensemble=chosen.ensemble)


def announcement(team: list[Restorer] | list[Enlarger]) -> str:
    """Say what is about to compute."""
    first = team[0]
    if isinstance(first, Enlarger):
        devices = ", ".join(str(each.device) for each in team)
        return f"{describe_passes(first)} on {devices}"
    described = first.describe()
    devices = ", ".join(
        restorer.forward_pass.device_name for restorer in team if isinstance(restorer, Restorer)
    )
    text = f"{described['model']} (×{described['scale']}) on {devices} in {described['precision']}"
    text = f"{text}, computed by {described['backend']}"
    return f"{text}, eight-fold ensemble" if described["ensemble"] else text


def model_names(team: list[Restorer] | list[Enlarger]) -> list[str]:
    """Name the models that a picture goes through, or for sizes in pixels may go through."""
    first = team[0]
    if not isinstance(first, Enlarger):
        return [first.name]
    scales = list(first.models)
    if first.size.scale is not None:
        scales = choose_passes(first.size.factor(1, 1), scales)
    chosen = [first.models[scale] for scale in scales]
    return [each if isinstance(each, str) else each.name for each in chosen]


def describe_passes(enlarger: Enlarger) -> str:
    """Say which models make a size: those that a factor takes, or all that a picture may need."""
    scale = enlarger.size.scale
    if scale is None:
        return f"the next larger of {enlarger.name}, twice where one is not enough, then reduced to {enlarger.size}"
    passes = enlarger.passes(1, 1)
    text = ", then ".join(f"{restorer.name} (×{restorer.scale})" for restorer in passes)
    made = prod(restorer.scale for restorer in passes)
    return text if made == scale else f"{text}, then reduced to ×{float(scale):g}"
