"""``python -m steerlib``: the command `steerlib`."""

import sys

from steerlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
