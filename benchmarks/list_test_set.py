"""List a benchmark's pictures, sizes and hashes of pixels as src/swinir/evaluation/known_sets.toml holds them.

python benchmarks/list_test_set.py Set5=testsets/Set5 ...
python benchmarks/list_test_set.py --smoke    # the sample photo
"""

import argparse
from pathlib import Path

from swinir.data import original_files
from swinir.data.pairs import read_pixels
from swinir.evaluation.known_sets import hash_pixels


def list_set(name: str, folder: Path) -> str:
    """Write the pictures of a folder as a table of TOML."""
    lines = [f"[{name}.pictures]"]
    for path in original_files(folder):
        pixels = read_pixels(path)
        lines.append(f'"{path.stem}" = [{pixels.shape[1]}, {pixels.shape[0]}, "{hash_pixels(pixels)}"]')
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", metavar="NAME=FOLDER")
    parser.add_argument("--smoke", action="store_true", help="list the sample photo")
    arguments = parser.parse_args()
    sample = f"Sample={Path(__file__).resolve().parents[1] / 'examples'}"
    for text in [sample] if arguments.smoke else arguments.sets:
        title, _, path = text.partition("=")
        print(list_set(title, Path(path)))
