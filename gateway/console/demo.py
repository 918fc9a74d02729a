"""The demo: the whole daemon on embedded defaults, with a small virtual city around it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway import daemon
from gateway.console.status_page import reading_line
from gateway.console.terminal import say
from gateway.console.wording import counted
from gateway.settings import Settings
from gateway.settings.models import (
    CodecsSettings,
    ConsoleSettings,
    GatewaySettings,
    StoreSettings,
    VirtualRadioSettings,
)
from gateway.settings.values import Address

if TYPE_CHECKING:
    from gateway.status import GatewayView

CONSOLE = Address("127.0.0.1", 8080)


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the command line says."""

    for_s: float | None = None
    data_dir: Path | None = None
    seed: int | None = None
    speed: float = 1.0


def demo(options: DemoOptions) -> int:
    """Run the city until Ctrl-C or for as long as was asked, then say what happened; 0."""
    with ExitStack() as cleanup:
        folder = options.data_dir or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="lorawan-gateway-")))
        settings = _settings(options, folder)
        company = _Audience(options.for_s)
        daemon.run(settings, company)
        company.summarize()
    return 0


def _settings(options: DemoOptions, folder: Path) -> Settings:
    return Settings(
        gateway=GatewaySettings(name="Demo city"),
        store=StoreSettings(path=folder),
        radio=VirtualRadioSettings(seed=options.seed, speed=options.speed),
        codecs=CodecsSettings(path=()),
        console=ConsoleSettings(listen=_console_address()),
    )


def _console_address() -> Address:
    """The promised port; any free one when somebody has it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((CONSOLE.host, CONSOLE.port))
        except OSError:
            say(f"Port {CONSOLE.port} is taken, the console gets another one.")
            return Address(CONSOLE.host, 0)
    return CONSOLE


class _Audience:
    """Prints what is heard while the daemon runs."""

    def __init__(self, for_s: float | None) -> None:
        self._for_s = for_s
        self._kinds: Counter[str] = Counter()
        self._problems = 0
        self._status: dict[str, Any] = {}

    async def attend(self, view: GatewayView, console_url: str, stop: asyncio.Event) -> None:
        """A line for each reading, until it is over."""
        say(f"A small virtual city reports. Pages: {console_url}   Ctrl-C ends it.")
        loop = asyncio.get_running_loop()
        ending = loop.call_later(self._for_s, stop.set) if self._for_s is not None else None
        try:
            async for reading in view.follow():
                if "missed" in reading:
                    continue
                self._kinds[str(reading["codec"])] += 1
                self._problems += reading["problem"] is not None
                print(reading_line(reading), flush=True)
        finally:
            self._status = view.status()
            if ending is not None:
                ending.cancel()

    def summarize(self) -> None:
        """What came of it."""
        radio, store = self._status["radio"], self._status["store"]
        print()
        print(f"Heard {counted(radio['heard'], 'frame', 'frames')} in {self._status['uptime_s']} s.")
        for codec, readings in sorted(self._kinds.items()):
            print(f"  {readings:6d} readings by {codec}")
        for reason, frames in sorted(radio["refused"].items()):
            print(f"  {frames:6d} frames left aside: {reason.replace('_', ' ')}")
        print(f"  {radio['dropped']:6d} frames dropped, {self._problems} readings with a problem")
        print(f"Books: heard = filtered + stored + dropped, balance {store['balance']}.")
