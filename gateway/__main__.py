"""`python -m gateway` is the command `lorawan-gateway`."""

import sys

from gateway.console.cli import main

if __name__ == "__main__":
    sys.exit(main())
