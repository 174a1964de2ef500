"""``python -m ethogram`` is the command ``ethogram``."""

import sys

from ethogram.cli import main

if __name__ == "__main__":
    sys.exit(main())
