"""Asking the running daemon: HTTP over the Unix socket in its data folder."""

from __future__ import annotations

import http.client
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.console.doors import CONTROL, connect_control
from gateway.errors import GatewayError, NotRunning, StorageError, UsageError
from gateway.store.owner import memory_folder

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

ANSWER_WITHIN_S = 10.0
"""A daemon that takes longer for its own state is stuck."""

LONGEST_LINE = 1 << 20
LONGEST_ANSWER = 1 << 26
"""Ten thousand dead letters, on one line."""

WORDS: Mapping[int, type[GatewayError]] = {2: UsageError, 4: StorageError}
"""The kind of error behind an exit code that an order ended with."""


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

    def runs(self) -> bool:
        """Whether a daemon answers there at all."""
        try:
            self._connect().close()
        except NotRunning:
            return False
        return True

    def order(
        self, name: str, facts: Mapping[str, Any], told: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Any:
        """Have an order carried out; its answer. `told` hears how far it is. GatewayError in the daemon's words."""
        with self._ask(f"/orders/{name}", json.dumps(facts)) as (answer, _):
            while True:
                try:
                    said = json.loads(answer.readline(LONGEST_ANSWER) or b"null")
                except (ValueError, OSError, http.client.HTTPException) as error:
                    raise self._gone(error) from error
                if not isinstance(said, dict):
                    raise GatewayError("the gateway stopped before it was done", hint="ask it again once it runs")
                if "answer" in said:
                    return said["answer"]
                if "problem" in said:
                    raise WORDS.get(said["exit_code"], GatewayError)(said["problem"], hint=said["hint"])
                told(said.get("told") or {})

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
    def _ask(self, path: str, order: str | None = None) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        """The daemon's answer, and the socket it comes from."""
        with self._connect() as connected:
            connected.settimeout(ANSWER_WITHIN_S)
            connection = http.client.HTTPConnection("localhost")
            connection.sock = connected
            try:
                connection.request("GET" if order is None else "POST", path, order)
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
