"""The gateway under test: the real program, started with a settings file, asked with its own commands."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hil_tests.parts import BenchTrouble

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hil_tests.parts import Credentials

PROJECT = Path(__file__).parents[1]
EUI = "02c17effffbe7c48"
"""Of the locally administered range: it is nobody's."""

START_S = 60.0
COMMAND_S = 30.0
STOP_S = 15.0


class Gateway:
    """One gateway: a folder, a settings file, and the process while it runs.

    `via` stands before each command, such as `ssh` and a host; then the folder is there, and so is the data.
    """

    def __init__(
        self,
        folder: str | Path,
        radio: Mapping[str, Any],
        judge: str,
        *,
        gps: Mapping[str, Any] | None = None,
        region: str = "EU868",
        via: Sequence[str] = (),
        command: Sequence[str] = (),
    ) -> None:
        self.settings = f"{folder}/gateway.toml"
        self._folder = str(folder)
        self._via = tuple(via)
        self._command = tuple(command) or (sys.executable, "-m", "gateway")
        self._text = _settings(self._folder, radio, gps, judge, region)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None
        self._log_path: Path | None = None

    # --- life ---------------------------------------------------------------------------------------------------------

    def prepare(self, log: Path) -> None:
        """Write its settings; what it says goes to `log`."""
        self._log_path = log
        if self._via:
            self._run(["mkdir", "-p", self._folder])
            self._run(["tee", self.settings], told=self._text)
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        Path(self.settings).write_text(self._text, encoding="utf-8")

    def start(self) -> None:
        """Start it, and wait until it answers; BenchTrouble with what it said when it ends instead."""
        assert self._log_path is not None
        words = self._words([*self._command, "run", "--config", self.settings])
        with self._log_path.open("ab") as log:
            try:
                self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=PROJECT)
            except OSError as error:
                raise BenchTrouble(f"{words[0]} cannot be run: {error.strerror}", hint="See via and command") from error
        self.until(lambda _: True, START_S)

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the process here."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """As systemd does."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchTrouble(f"the gateway did not stop within {STOP_S:g} s") from None
        self._process = None

    def kill(self) -> None:
        """As a power cut does, as far as a program can tell."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    @property
    def log(self) -> str:
        """What it has said."""
        assert self._log_path is not None
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    # --- questions ----------------------------------------------------------------------------------------------------

    def ask(self, *words: str, told: str | None = None) -> Any:
        """The JSON that a command prints; BenchTrouble with its words when it fails."""
        out = self._run([*self._command, "--config", self.settings, *words, "--json"], told=told)
        try:
            return json.loads(out)
        except ValueError as error:
            raise BenchTrouble(f"{' '.join(words)} printed no JSON: {out[:200]!r}") from error

    def lines(self, *words: str) -> list[Any]:
        """The JSON lines that a command prints."""
        out = self._run([*self._command, "--config", self.settings, *words, "--json"])
        return [json.loads(line) for line in out.splitlines() if line.strip()]

    def status(self) -> dict[str, Any]:
        """`status --json`."""
        status: dict[str, Any] = self.ask("status")
        return status

    def until(self, holds: Callable[[dict[str, Any]], bool], within_s: float) -> dict[str, Any]:
        """The first status for which this is so."""
        until_s = time.monotonic() + within_s
        last = "nothing"
        while True:
            if self._process is not None and self._process.poll() is not None:
                tail = "\n".join(self.log.splitlines()[-8:])
                raise BenchTrouble(f"the gateway ended with {self._process.returncode}:\n{tail}")
            try:
                status = self.status()
                if holds(status):
                    return status
                last = json.dumps(status.get("radio", {}).get("evidence", ""))
            except BenchTrouble as trouble:
                last = trouble.problem
            if time.monotonic() > until_s:
                raise BenchTrouble(f"not reached within {within_s:g} s; last: {last}")
            time.sleep(0.1)

    def add_device(self, who: Credentials, name: str) -> None:
        """Make a device known to it."""
        keys = f'nwk_s_key = "{who.nwk_s_key.hex()}"\napp_s_key = "{who.app_s_key.hex()}"\n'
        words = ["device", "add", "--dev-eui", str(who.dev_eui), "--name", name, "--dev-addr", str(who.dev_addr)]
        self.ask(*words, "--mac-version", "1.0.3", "--keys", "-", told=keys)

    def readings(self) -> list[dict[str, Any]]:
        """Every reading that it keeps."""
        return self.lines("uplink", "export")

    def tail(self) -> Tail:
        """Its readings from now on, as they are durable."""
        return Tail(self._words([*self._command, "--config", self.settings, "tail", "--json"]))

    def memory_kib(self) -> int | None:
        """What the process holds; None where it runs elsewhere."""
        if self._via or self._process is None:
            return None
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii").splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        return None

    # --- below --------------------------------------------------------------------------------------------------------

    def _words(self, words: Sequence[str]) -> list[str]:
        return [*self._via, shlex.join(words)] if self._via else list(words)

    def _run(self, words: Sequence[str], told: str | None = None) -> str:
        whole = self._words(words)
        try:
            done = subprocess.run(
                whole, input=told or "", capture_output=True, text=True, timeout=COMMAND_S, check=False, cwd=PROJECT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchTrouble(f"{' '.join(whole[:6])} …: {error}") from error
        if done.returncode != 0:
            raise BenchTrouble(f"{' '.join(words[-4:])} ended with {done.returncode}: {done.stderr.strip()[-400:]}")
        return done.stdout


class Tail:
    """`tail --json` while it runs; `readings` grows."""

    def __init__(self, words: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=PROJECT
        )
        self._changed = threading.Condition()
        self.readings: list[tuple[float, dict[str, Any]]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with contextlib.suppress(ValueError), self._changed:
                self.readings.append((time.monotonic(), json.loads(line)))
                self._changed.notify_all()

    def until(self, holds: Callable[[Sequence[dict[str, Any]]], bool], within_s: float) -> bool:
        """Whether the readings so far are as wanted, in time."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: holds([one for _, one in self.readings]), within_s))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _settings(folder: str, radio: Mapping[str, Any], gps: Mapping[str, Any] | None, judge: str, region: str) -> str:
    tables: dict[str, Mapping[str, Any]] = {
        "gateway": {"eui": EUI, "name": "bench", "region": region},
        "store": {"path": f"{folder}/data", "commit_interval": "200ms"},
        "radio": radio,
        **({} if gps is None else {"gps": gps}),
        "network": {"answer": False},  # what goes on the air, the judge asks for
        "console": {"listen": "127.0.0.1:0"},
        "lns.judge": {
            "type": "semtech-udp", "server": judge, "own_devices": True, "keepalive": "1s", "stat_interval": "30s",
        },
    }  # fmt: skip
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
