"""What can be wrong with a weights file, apart by what its owner can do about it; each is a ValueError."""

_QUOTED_CHARACTERS = 100


class DamagedError(ValueError):
    """The file is not as it was written: fetched or converted again it may be."""


class RefusedError(ValueError):
    """The file asks for something that is not given to any file."""


class OtherNetworkError(ValueError):
    """The file is whole, and holds something else than a SwinIR."""


def quoted(value: object) -> str:
    """Show a value from outside on one line of bounded length."""
    text = repr(value)
    return text if len(text) <= _QUOTED_CHARACTERS else f"{text[:_QUOTED_CHARACTERS]}…"
