"""A site for the command line: a settings file, a data folder, a catalogue of one codec, and ways to type commands."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.console.cli import main

CHECKOUT = Path(__file__).parent.parent

CODEC = """
def decode(payload, port, variables):
    temperature = int.from_bytes(payload[:2], "big", signed=True) / float(variables.get("scale", "10"))
    return {
        "data": {"temperature": temperature},
        "measurements": [{"quantity": "temperature", "value": temperature, "unit": "°C"}],
    }


def encode(command):
    return {"bytes": [command["interval"]], "f_port": 3}
"""
EXAMPLES = [
    {
        "name": "a cool cellar",
        "input": {"fPort": 1, "hex": "0083"},
        "output": {"data": {"temperature": 13.1}},
        "source": "made for this test",
    }
]


@dataclass(frozen=True)
class Typed:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What stdout says, all of it."""
        return json.loads(self.out)


class Site:
    """A folder with everything a command needs."""

    def __init__(self, folder: Path, capsys: Any, monkeypatch: Any) -> None:
        self.folder, self._capsys, self._monkeypatch = folder, capsys, monkeypatch
        self.config = folder / "gateway.toml"
        self.data = folder / "data"
        self.config.write_text('[store]\npath = "data"\n[codecs]\npath = ["codecs"]\n')
        device = folder / "codecs" / "acme" / "probe"
        device.mkdir(parents=True)
        (device / "device.toml").write_text('model = "Probe"\nkind = "cellar"\n[variables.scale]\ndefault = "10"\n')
        (device / "probe.py").write_text(CODEC)
        (device / "examples.json").write_text(json.dumps(EXAMPLES))
        monkeypatch.delenv("LORAWAN_GATEWAY_CONFIG", raising=False)

    def type(self, *words: object, stdin: str | bytes = b"", config: bool = True) -> Typed:
        """Run a command in this process."""
        content = stdin if isinstance(stdin, bytes) else stdin.encode()
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        self._capsys.readouterr()
        code = main([*(["--config", str(self.config)] if config else []), *map(str, words)])
        out, err = self._capsys.readouterr()
        return Typed(code, out, err)

    def command(self, *words: object, environment: dict[str, str] | None = None, **options: Any) -> Typed:
        """Run the real command as a process of its own."""
        done = subprocess.run(
            self.words(*words),
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        return Typed(done.returncode, done.stdout, done.stderr)

    def words(self, *words: object) -> list[str]:
        """The command line of the real command."""
        return [sys.executable, "-m", "gateway", "--config", str(self.config), *map(str, words)]
