"""Ctrl-C that comes while a library calls Python: such exceptions are dropped, and this one is raised again."""

import _thread
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

# By then the callback that the exception was raised in has returned.
_AGAIN_S = 0.05


@contextmanager
def interrupts_kept() -> Generator[None]:
    """Raise KeyboardInterrupt again, in the main thread, where a callback from C could not pass it on."""
    show = sys.unraisablehook

    def pass_on(unraisable: "sys.UnraisableHookArgs") -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):
            show(unraisable)
            return
        timer = threading.Timer(_AGAIN_S, _thread.interrupt_main)
        timer.daemon = True
        timer.start()

    sys.unraisablehook = pass_on
    try:
        yield
    finally:
        sys.unraisablehook = show
