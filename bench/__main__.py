"""Runs every benchmark, or those named on the command line: `python -m bench line lookup`."""

from __future__ import annotations

import sys

from bench import line, parts

ALL = {"parts": parts.run, "line": line.run}


def main(names: list[str]) -> int:
    """Run the named benchmarks, all when none is named."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(ALL)}", file=sys.stderr)
        return 2
    for name in names or ALL:
        ALL[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
