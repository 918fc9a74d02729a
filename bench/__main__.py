"""Runs every benchmark, or those named on the command line: `python -m bench line --frames 50000`."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING

from bench import (
    answers,
    backlog,
    chip,
    codecs,
    erasing,
    gps,
    line,
    lns,
    ngsi,
    parts,
    radio,
    serving,
    sinks,
    store,
    trace,
    words,
)  # fmt: skip

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


def main() -> int:
    """Run the named benchmarks, all when none is named."""
    benchmarks: dict[str, Callable[[argparse.Namespace], None]] = {
        "parts": lambda _: parts.run(),
        "codecs": lambda _: codecs.run(),
        "line": lambda chosen: line.run(chosen.frames),
        "store": lambda chosen: store.run(chosen.records),
        "erasing": lambda chosen: erasing.run(chosen.backlog),
        "drain": lambda chosen: backlog.run(chosen.backlog),
        "trace": lambda _: trace.run(),
        "sinks": lambda chosen: sinks.run(chosen.backlog),
        "ngsi": lambda chosen: ngsi.run(chosen.backlog),
        "words": lambda _: words.run(),
        "serving": lambda _: serving.run(),
        "lns": lambda chosen: lns.run(chosen.seconds),
        "answers": lambda chosen: answers.run(chosen.seconds),
        "chip": lambda _: chip.run(),
        "radio": lambda _: radio.run(),
        "gps": lambda _: gps.run(),
    }
    parser = argparse.ArgumentParser(prog="bench", description="Figures are printed, never asserted.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(benchmarks)}; all by default")
    parser.add_argument("--frames", type=int, default=20_000, help="through the line, each time (default 20000)")
    parser.add_argument("--records", type=int, default=1_000_000, help="in the store that is opened (default 1000000)")
    parser.add_argument("--backlog", type=int, default=100_000, help="records to drain (default 100000)")
    parser.add_argument("--seconds", type=int, default=30, help="of uplinks for answers and lns (default 30)")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.names if name not in benchmarks]
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(benchmarks)}")
    signal.signal(signal.SIGTERM, _stopped)  # as Ctrl-C: processes are ended, loop devices freed
    try:
        for name in chosen.names or benchmarks:
            benchmarks[name](chosen)
    except KeyboardInterrupt:
        return 130
    return 0


def _stopped(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
