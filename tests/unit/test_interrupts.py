"""Ctrl-C ends the command also where a library has called Python."""

import subprocess
import sys

DROPPED = """
import signal, time, cffi
from contextlib import nullcontext
from swinir.cli.interrupts import interrupts_kept
# A shell lets what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
def interrupt():
    raise KeyboardInterrupt
called = cffi.FFI().callback("void(void)", interrupt)
began = time.monotonic()
try:
    with {around}():
        called()
        while time.monotonic() - began < 3:
            time.sleep(0.01)
    print("dropped")
except KeyboardInterrupt:
    print("raised")
"""
OTHER = """
import cffi
from swinir.cli.interrupts import interrupts_kept
with interrupts_kept():
    cffi.FFI().callback("void(void)", lambda: 1 / 0)()
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)


def test_an_interrupt_that_a_callback_drops_is_raised_again() -> None:
    assert run(DROPPED.format(around="nullcontext")).stdout.strip() == "dropped"
    kept = run(DROPPED.format(around="interrupts_kept"))
    assert kept.stdout.strip() == "raised"
    assert kept.stderr == ""


def test_other_errors_of_callbacks_are_shown() -> None:
    assert "ZeroDivisionError" in run(OTHER).stderr
