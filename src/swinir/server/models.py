"""The models that clients may choose, by name only: never a path, never an address."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from enum import StrEnum

from swinir.engine import Restorer
from swinir.errors import UsageError
from swinir.options import RestorerOptions
from swinir.weights import catalog
from swinir.weights.records import Model

# Networks that are kept ready; a lightweight one takes some megabytes, a classical one fifty.
MOST_LOADED = 4


class Operation(StrEnum):
    """What a client wants done to a picture."""

    UPSCALE = "upscale"
    DENOISE = "denoise"
    DEJPEG = "dejpeg"


class ModelTable:
    """Models by name, loaded when first used; safe for several threads."""

    def __init__(self, names: Collection[str], options: RestorerOptions) -> None:
        known = {name: model for name, model in catalog.all_models().items() if catalog.is_available(model)}
        if missing := sorted(set(names) - set(known)):
            raise UsageError(
                f"--models names {', '.join(missing)}, but on this machine are {', '.join(sorted(known))}"
            )
        self._models: Mapping[str, Model] = {name: known[name] for name in sorted(names or known)}
        self._options = options
        self._loaded: OrderedDict[str, Restorer] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def models(self) -> Mapping[str, Model]:
        """Every model that may be chosen, by name."""
        return self._models

    def choose(self, name: str | None, operation: Operation, scale: int | None) -> Model:
        """Find the model of a request: the one it names, or the one for what it wants.

        Raises:
            UsageError: there is none.
        """
        if name is not None:
            if name not in self._models:
                raise UsageError(f"there is no model {name!r} here: GET /v1/models lists them")
            model = self._models[name]
        else:
            model = self._default(operation, scale)
        if scale is not None and scale != model.scale:
            raise UsageError(f"the model {model.name} makes ×{model.scale}, not ×{scale}: leave one out")
        return model

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
                self._loaded[name] = Restorer.from_pretrained(name, self._options)
                while len(self._loaded) > MOST_LOADED:
                    self._loaded.popitem(last=False)
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def _default(self, operation: Operation, scale: int | None) -> Model:
        for name in default_names(operation, scale):
            if name in self._models:
                return self._models[name]
        wanted = f"{operation} ×{scale}" if scale else str(operation)
        raise UsageError(f"there is no model for {wanted} here: GET /v1/models lists them")


def default_names(operation: Operation, scale: int | None) -> list[str]:
    """Name the models for a wish, the preferred one first."""
    if operation is not Operation.UPSCALE:
        return [operation.value]
    scale = 4 if scale is None else scale
    return [f"{kind}-x{scale}" for kind in ("real", "lightweight", "classical")]
