"""How commands reach what a gateway has kept: through the daemon when one runs, else in its data folder themselves."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

from gateway.console.control import ControlClient
from gateway.console.terminal import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.settings import Settings
    from gateway.store.queries import LogFiles

PROGRESS_S = 2.0


def ask(settings: Settings, order: str, facts: Mapping[str, Any]) -> Any:
    """Have an order carried out by the running daemon; while none runs, here. How far it is, is told on stderr."""
    client = ControlClient(settings.store.path)
    if client.runs():
        return client.order(order, facts, _progress())
    return asyncio.run(_here(settings, order, facts))


async def _here(settings: Settings, order: str, facts: Mapping[str, Any]) -> Any:
    from gateway import daemon

    async with daemon.at_rest(settings) as control:
        return await control.order(order, facts, _progress())


def log_files(settings: Settings) -> LogFiles:
    """The files of the data folder, read beside a daemon or without one. StorageError when they cannot be read."""
    from gateway import parts
    from gateway.host.anchors import remembered_dating
    from gateway.host.identity import own_eui
    from gateway.store.queries import LogFiles

    folder = settings.store.path
    eui = settings.gateway.eui or own_eui(folder)
    return LogFiles(folder, eui, parts.store_key(settings), remembered_dating(folder).date)


def _progress() -> Callable[[Mapping[str, Any]], None]:
    """Says now and then how far an order is, to a person who waits."""
    said_s = time.monotonic()

    def told(facts: Mapping[str, Any]) -> None:
        nonlocal said_s
        if facts and sys.stderr.isatty() and time.monotonic() - said_s > PROGRESS_S:
            said_s = time.monotonic()
            say(", ".join(f"{name.replace('_', ' ')} {number}" for name, number in facts.items()))

    return told
