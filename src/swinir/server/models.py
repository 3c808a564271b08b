"""The models that clients may choose, by name only: never a path, never an address."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from swinir.engine import MODEL_OF_SCALE, Enlarger, Restorer, TargetSize
from swinir.engine.enlarge import choose_passes
from swinir.errors import UsageError
from swinir.options import RestorerOptions
from swinir.weights import catalog
from swinir.weights.records import Model

# Networks that are kept ready; a lightweight one takes some megabytes, a classical one fifty.
MOST_LOADED = 4
SCALES = (2, 3, 4)


class Operation(StrEnum):
    """What a client wants done to a picture."""

    UPSCALE = "upscale"
    DENOISE = "denoise"
    DEJPEG = "dejpeg"


@dataclass(frozen=True)
class Choice:
    """What restores a picture.

    Attributes:
        model: its name; "upscale" where the models that make a size depend on the picture.
        size: what it is made of the models, or None for the model's own scale.
    """

    model: str
    size: TargetSize | None = None


class ModelTable:
    """Models by name, loaded when first used; safe for several threads.

    Args:
        names: what clients may choose; empty for every model that is on this machine.
        options: how they compute.
        image_range: what white is inside networks whose files do not say it.

    Raises:
        UsageError: a name is unknown.
    """

    def __init__(
        self, names: Collection[str], options: RestorerOptions, *, image_range: float | None = None
    ) -> None:
        known = {name: model for name, model in catalog.all_models().items() if catalog.is_available(model)}
        if missing := sorted(set(names) - set(known)):
            raise UsageError(
                f"--models names {', '.join(missing)}, but on this machine are {', '.join(sorted(known))}"
            )
        self._models: Mapping[str, Model] = {name: known[name] for name in sorted(names or known)}
        self._options = options
        self._image_range = image_range
        self._loaded: OrderedDict[str, Restorer] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model that may be chosen, by name."""
        return self._models

    def choose(self, name: str | None, operation: Operation, size: TargetSize | float | None) -> Choice:
        """Find the model of a request: the one it names, or the one for what it wants.

        Args:
            name: of a model, or None.
            operation: what is wanted, where no model is named.
            size: a size, or how many times larger; None for the model's own scale.

        Raises:
            UsageError: there is none, or it does not make that size.
        """
        model = self._named(name) if name is not None else self._default(operation, size)
        if model is not None and size in (None, model.scale):
            return Choice(model.name)
        if model is not None and model.scale == 1:
            raise UsageError(f"the model {model.name} does not enlarge: leave out the size")
        name = Operation.UPSCALE.value if model is None else model.name
        self._by_scale(name)
        return Choice(name, size if isinstance(size, TargetSize) else TargetSize(scale=size))

    def output_size(self, choice: Choice, height: int, width: int) -> tuple[int, int]:
        """Return height and width of the largest picture that is made on the way to the result.

        Raises:
            UsageError: the models do not make that size.
        """
        if choice.size is None:
            scale = self._models[choice.model].scale
            return height * scale, width * scale
        factor = choice.size.factor(height, width)
        largest = max(factor, prod(choose_passes(factor, list(self._by_scale(choice.model)))))
        return int(height * largest), int(width * largest)

    def preferred(self) -> str:
        """Name the model that is asked for where nothing else is said, or the first one there is."""
        names = [name for name in default_names(Operation.UPSCALE, None) if name in self._models]
        return names[0] if names else next(iter(self._models))

    def load(self, name: str) -> Restorer:
        """Return what restores with a model.

        Raises:
            WeightsError, RestoreError: it cannot be loaded.
        """
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = Restorer.from_pretrained(
                    name, self._options, image_range=self._image_range
                )
                while len(self._loaded) > MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def load_enlarger(self, model: str, size: TargetSize, height: int, width: int) -> Enlarger:
        """Return what makes a size of a picture of ``height`` × ``width``, with the models that it needs.

        Raises:
            UsageError, WeightsError, RestoreError: there are none, or they cannot be loaded.
        """
        names = self._by_scale(model)
        passes = choose_passes(size.factor(height, width), list(names))
        return Enlarger(size, self._options, models={scale: self.load(names[scale]) for scale in passes})

    def _named(self, name: str) -> Model:
        if name not in self._models:
            raise UsageError(f"there is no model {name!r} here: GET /v1/models lists them")
        return self._models[name]

    def _default(self, operation: Operation, size: TargetSize | float | None) -> Model | None:
        """Return the model of a wish; None for a size that no single model makes."""
        if not isinstance(size, TargetSize) or operation is not Operation.UPSCALE:
            scale = None if isinstance(size, TargetSize) else size
            for name in default_names(operation, scale):
                if name in self._models:
                    return self._models[name]
        if operation is Operation.UPSCALE and size is not None:
            return None
        raise UsageError(f"there is no model for {operation} here: GET /v1/models lists them")

    def _by_scale(self, model: str) -> dict[int, str]:
        """Return the models that sizes are made of, by their scales: one alone, or the preferred ones."""
        if model in self._models:
            return {self._models[model].scale: model}
        found = {
            scale: name
            for scale in reversed(SCALES)
            for name in reversed(default_names(Operation.UPSCALE, scale))
            if name in self._models
        }
        if not found:
            raise UsageError("there is no model that enlarges here: GET /v1/models lists them")
        return found


def default_names(operation: Operation, scale: float | None) -> list[str]:
    """Name the models for a wish, the preferred one first."""
    if operation is not Operation.UPSCALE:
        return [operation.value]
    scale = 4 if scale is None else scale
    names = [f"{kind}-x{scale:g}" for kind in ("real", "lightweight", "classical")]
    # As the commands choose.
    preferred = [name for known, name in MODEL_OF_SCALE.items() if known == scale]
    return list(dict.fromkeys(preferred + names))
