"""`python -m musicreclass`."""

import os
import sys

if sys.path[0] == os.getcwd():  # Python puts the working directory first, before every library
    del sys.path[0]

from musicreclass.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
