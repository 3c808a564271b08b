"""``python -m swinir``."""

import sys

from swinir.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
