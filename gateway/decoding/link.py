"""The worker's end of the socket to the daemon: what every worker process speaks, whatever its codecs are written in.

Started by `process.py` as a child that inherits nothing but a socket as descriptor 0. From the daemon come messages of
four bytes length and a marshalled value: first the setup, then lists of requests, each a tuple that begins with a verb
and the number of a codec. Back go lines: a letter, the number of the request it answers, and JSON.

    R 0 {"guarded": true}  the walls are up, see `walls.py`; guarded says whether the kernel's filter holds
    L 1 "text"             this codec cannot be loaded, and why
    = 2 {…}                what the codec answered, or for a load: that it is ready
    ! 3 "text"             it raised, or answered what cannot be carried
    T 4 "text"             it took more processor time or memory than it may
    M 5 "text"             it took more memory than it may; the worker ends, for memory does not come back

Nothing of the gateway is imported here, and little of the standard library: a worker starts in milliseconds.
"""

from __future__ import annotations

import json
import marshal
import os
import signal
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LINK = 0  # the socket to the daemon
FLUSH_S = 0.02  # answers do not wait longer than this for the rest of their batch
MOST_DEPTH = 32
"""How deep a result may be nested: what writes readings must not be brought to its limits."""


class Unusable(Exception):  # noqa: N818
    """An answer that cannot be carried, or a codec that cannot be asked, in words."""


def open_worker() -> dict[str, Any] | None:
    """The setup; None when the daemon has gone already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon stops in order, and stops us
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    setup = _receive()
    return setup if isinstance(setup, dict) else None


def say_ready(*, guarded: bool) -> None:
    """Tell the daemon that the walls are up."""
    _send(b"R 0 " + as_json({"guarded": guarded}))


def serve(answers: Mapping[str, Callable[..., tuple[bytes, bytes]]]) -> None:
    """Answer requests until the daemon hangs up. `answers` has for each verb who gives letter and JSON of its line.

    A load is told at once: a worker that dies later did not die of it.
    """
    number = 0
    while (requests := _receive()) is not None:
        lines: list[bytes] = []
        flushed = time.monotonic()
        for verb, *arguments in requests:
            if verb == "load" and lines:
                _send(b"".join(lines))
                lines.clear()
            letter, body = answers[verb](*arguments)
            number += 1
            lines.append(b"%b %d %b" % (letter, number, body))
            now = time.monotonic()
            if letter == b"M" or verb == "load" or now - flushed > FLUSH_S:
                _send(b"".join(lines))
                lines.clear()
                flushed = now
            if letter == b"M":
                return
        if lines:
            _send(b"".join(lines))


def leave() -> None:
    """End the process: nothing to tidy up, and no codec's exit handlers."""
    os._exit(0)


def as_json(value: Any) -> bytes:
    """The end of a line."""
    return json.dumps(value).encode() + b"\n"


def _receive() -> Any:
    head = _read(4)
    return None if head is None else marshal.loads(_read(int.from_bytes(head, "little")) or b"N")  # noqa: S302 - from the daemon


def _read(size: int) -> bytes | None:
    chunks = b""
    while len(chunks) < size:
        chunk = os.read(LINK, size - len(chunks))
        if not chunk:
            return None
        chunks += chunk
    return chunks


def _send(lines: bytes) -> None:
    while lines:
        lines = lines[os.write(LINK, lines) :]
