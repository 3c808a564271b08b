"""Peak memory of a process that enlarges giant pictures by bands, ×2.

    python benchmarks/giants.py scan --folder /mnt/large    # 30,000×20,000, for which the folder takes 20 GB
    python benchmarks/giants.py scan --smoke                # a hundredth of each side

The first tile goes through the network; the others are enlarged by repeating pixels, since the network would take
days and no other memory. Everything else is what `swinir upscale` does: reading, tiles, blending, finished rows on
the disk, encoding. The last line is one JSON document.
"""

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from swinir import imaging
from swinir.engine import Restorer
from swinir.engine.executor import RestoredTiles
from swinir.imaging import Band, Header, Image, TiffLayout
from swinir.jobs import restore_by_bands
from swinir.provenance import read_provenance

# Name: height, width, channels.
GIANTS = {
    "scan": (20_000, 30_000, 3),
    "strip": (1_000, 1_000_000, 3),
    "column": (1_000_000, 1_000, 3),
    "ribbon": (200, 500_000, 3),
}


def write_giant(path: Path, height: int, width: int, channels: int) -> None:
    """Write a picture of gradients, band by band."""
    template = Image(pixels=np.zeros((1, 1, channels), np.uint8))
    header = Header(height=height, width=width, has_alpha=False, template=template, value_range=(0, 255))
    columns = np.arange(width)[None, :, None] + 85 * np.arange(channels)
    step = imaging.rows_of_band(header.row_bytes)
    with imaging.ImageWriter(path, header) as writer:
        for top in range(0, height, step):
            rows = np.arange(top, min(top + step, height))[:, None, None]
            writer.append(Band(((columns + rows) // 16).astype(np.uint8), None))
        writer.finish()


def restore_first_tile_only(restorer: Restorer) -> None:
    """Let the network restore the first tile, and repeat the pixels of the others."""
    send, scale = restorer.executor.send, restorer.scale
    num_sent = 0

    def repeat(tiles: list[Any], on_layers: Any = None) -> Callable[[], RestoredTiles]:
        nonlocal num_sent
        num_sent += 1
        if num_sent == 1:
            return send(tiles, on_layers)
        result = RestoredTiles(np.stack(tiles).repeat(scale, axis=1).repeat(scale, axis=2), is_finite=True)
        if on_layers is not None:
            on_layers(restorer.executor.num_layers)
        return lambda: result

    restorer.executor.send = repeat


def read_peak_bytes() -> int:
    """Return the most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024


def main() -> None:
    """Measure one giant."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("giant", choices=GIANTS)
    parser.add_argument("--folder", type=Path, help="for some 20 GB; the system's by default")
    parser.add_argument("--layout", type=TiffLayout, default=TiffLayout.TILES, choices=list(TiffLayout))
    parser.add_argument("--suffix", default=".tif", choices=[".tif", ".png", ".dzi"], help="of the result")
    parser.add_argument("--smoke", action="store_true", help="a hundredth of each side")
    chosen = parser.parse_args()
    height, width, channels = GIANTS[chosen.giant]
    if chosen.smoke:
        height, width = height // 100, width // 100
    restorer = Restorer.from_pretrained("lightweight-x2", device="cpu")
    restore_first_tile_only(restorer)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        source, destination = Path(folder) / "given.tif", Path(folder) / f"out{chosen.suffix}"
        write_giant(source, height, width, channels)
        began = time.monotonic()
        restore_by_bands(restorer, source, destination, layout=chosen.layout)
        seconds = time.monotonic() - began
        made = sum(
            path.stat().st_size for path in Path(folder).rglob("*") if path != source and path.is_file()
        )
    measured = {
        "giant": chosen.giant,
        "height": height,
        "width": width,
        "scale": restorer.scale,
        "layout": chosen.layout.value,
        "suffix": chosen.suffix,
        "peak_bytes": read_peak_bytes(),
        "seconds_without_network": round(seconds, 1),
        "output_bytes": made,
    }
    sys.stdout.write(json.dumps({**measured, **vars(read_provenance())}, default=str) + "\n")


if __name__ == "__main__":
    main()
