"""Asking the running daemon: HTTP over the Unix socket in its data folder."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.console.doors import CONTROL, connect_control
from gateway.errors import GatewayError, NotRunning
from gateway.store.owner import memory_folder

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

ANSWER_WITHIN_S = 10.0
"""A daemon that takes longer for its own state is stuck."""

LONGEST_LINE = 1 << 20


class ControlClient:
    """The daemon of a data folder. Every method raises NotRunning when none answers there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def status(self) -> dict[str, Any]:
        """Its state, as `status --json` prints it."""
        with self._ask("/status") as (answer, _):
            try:
                facts = json.loads(answer.read())
            except (ValueError, OSError, http.client.HTTPException) as error:
                raise self._gone(error) from error
        if not isinstance(facts, dict):
            raise GatewayError("the gateway's answer is no status", hint="are command and daemon of one version?")
        return facts

    def tail(self, *, dev_eui: str | None = None, raw: bool = False) -> Iterator[dict[str, Any]]:
        """Readings as they are heard, until the daemon stops; then NotRunning."""
        query = "&".join([*([f"dev_eui={dev_eui}"] if dev_eui else []), *(["raw=1"] if raw else [])])
        with self._ask(f"/tail?{query}") as (answer, connected):
            connected.settimeout(None)  # a quiet night is no failure
            while True:
                try:
                    line = answer.readline(LONGEST_LINE)
                    reading = json.loads(line) if line.strip() else None
                except (ValueError, OSError, http.client.HTTPException) as error:
                    raise self._gone(error) from error
                if not line:
                    raise NotRunning("the gateway has stopped", hint="journalctl -u lorawan-gateway says why")
                if isinstance(reading, dict):
                    yield reading

    def _connect(self) -> socket.socket:
        """The daemon's socket; one whose data folder takes no writing has it in memory."""
        try:
            return connect_control(self._folder)
        except NotRunning:
            memory = memory_folder(self._folder)
            if not (memory / CONTROL).exists():
                raise
            return connect_control(memory)

    @contextmanager
    def _ask(self, path: str) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """The daemon's answer, and the socket it comes from."""
        with self._connect() as connected:
            connected.settimeout(ANSWER_WITHIN_S)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = connected
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                refused = "" if answer.status == http.client.OK else answer.read(200).decode(errors="replace")
            except (OSError, http.client.HTTPException) as error:
                raise self._gone(error) from error
            with answer:
                if answer.status != http.client.OK:
                    raise GatewayError(f"the gateway answers {answer.status}: {refused.strip() or answer.reason}")
                yield answer, connected

    def _gone(self, error: Exception) -> NotRunning:
        return NotRunning(
            f"the gateway on {self._folder} gave no answer: {error or type(error).__name__}",
            hint="systemctl status lorawan-gateway",
        )
