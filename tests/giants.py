"""Processes that restore by bands, for tests that end them or measure them."""

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from swinir.engine import Restorer
from swinir.errors import SwinIRError
from swinir.jobs import restore_by_bands
from swinir.model import SwinIR, SwinIRConfig, Upsampler

# What changes the disk, and the places between two tiles.
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock", "tile")


def one_layer(scale: int = 2, in_channels: int = 3, embed_dim: int = 4, **options: Any) -> Restorer:
    """The smallest network there is, with random parameters."""
    config = SwinIRConfig(
        scale=scale,
        in_channels=in_channels,
        embed_dim=embed_dim,
        depths=(1,),
        num_heads=(1,),
        window_size=8,
        mlp_ratio=1.0,
        upsampler=Upsampler.PIXEL_SHUFFLE_DIRECT if scale > 1 else Upsampler.NONE,
    )
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(1)
    state_dict = SwinIR(config).state_dict()
    torch.random.set_rng_state(torch_state)
    return Restorer(
        config, state_dict, **{"device": "cpu", "precision": "fp32", "backend": "reference", **options}
    )


def restore_until(source: Path, destination: Path, num_events: int | None) -> None:
    """Restore a file by bands, and be killed at an event of this number; exit with 3 where there were fewer.

    What was refused is the exit status 1 and written to standard error.
    """
    torch.set_num_threads(1)
    restorer = one_layer(tile=32)
    count = 0
    lock = threading.Lock()

    def on_event(name: str, _arguments: Any) -> None:
        nonlocal count
        if name not in EVENTS or num_events is None:
            return
        with lock:
            count += 1
            if count == num_events:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(on_event)
    try:
        restore_by_bands(restorer, source, destination, progress=lambda *_: sys.audit("tile"))
    except SwinIRError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    sys.exit(3)
