"""A codec that does what it should, and who the children of this process are."""

from __future__ import annotations

import contextlib
from pathlib import Path

GOOD = """
def decode(payload, port, variables):
    return {
        "data": {"sum": sum(payload), "port": port, **variables},
        "measurements": [{"quantity": "pulse_total", "value": sum(payload)}],
    }
"""


def children() -> set[int]:
    """The processes this one has started and not yet buried."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that has just ended
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found
