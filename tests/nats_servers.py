"""A real nats-server in a process of its own, and a reader of its streams made of nats-py: another implementation."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import nats
import pytest
from brokers import HOST, PORTS, START_S, freeze
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from nats.aio.client import Client


class NatsProcess:
    """A nats-server with a generated configuration. The port stays the same over stop and start, the streams too."""

    def __init__(self, folder: Path, *settings: str, jetstream: str | None = "{}", tls: bool = False) -> None:
        """`settings` are further lines; `jetstream` what stands in its block beside the folder, None: without."""
        program = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("no nats-server here: apt-get install nats-server")
        folder.mkdir(parents=True)
        self._program, self.folder, self._tls = program, folder, tls
        self._settings: list[str] = [*settings]
        if jetstream is not None:
            self._settings.append(f'jetstream {{ store_dir: "{folder}/store", {jetstream.strip("{}")} }}')
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = self.port = 0

    @property
    def url(self) -> str:
        """What goes into the settings of a sink."""
        return f"{'tls' if self._tls else 'nats'}://{HOST}:{self.port}"

    @property
    def log(self) -> str:
        """What it has logged since its last start."""
        file = self.folder / f"log-{self._starts}"
        return file.read_text() if file.exists() else ""

    def start(self) -> None:
        """Run until it takes connections; on another port when somebody else was faster at the first start."""
        for port in [self.port] * 3 if self.port else random.sample(PORTS, 20):
            if self._run(port):
                self.port = port
                return
        raise AssertionError(f"nats-server does not start:\n{self.log}")

    def stop(self) -> None:
        """Ask it to end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a chance to save anything."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: the kernel still takes what is sent, nobody answers."""
        assert self._process is not None
        freeze(self._process)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _run(self, port: int) -> bool:
        self._starts += 1
        config = self.folder / "nats.conf"
        log = f'log_file: "{self.folder}/log-{self._starts}"'
        config.write_text("\n".join([f"host: {HOST}", f"port: {port}", log, *self._settings]))
        self._process = subprocess.Popen([self._program, "-c", str(config)], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            if "Server is ready" in self.log:
                return True
            time.sleep(0.005)
        self._end(signal.SIGKILL)
        return False

    def _end(self, by: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(by)
        process.send_signal(signal.SIGCONT)  # should it be paused
        process.wait(START_S)


class NatsKey:
    """An nkey of an operator (O), account (A) or user (U), as its public documentation describes them."""

    def __init__(self, letter: str) -> None:
        self._letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ".index(letter) << 3
        self._key = Ed25519PrivateKey.generate()
        self.public = self._spelled(bytes((self._letter,)) + self._key.public_key().public_bytes_raw())
        raw = self._key.private_bytes_raw()
        self.seed = self._spelled(bytes((18 << 3 | self._letter >> 5, (self._letter & 31) << 3)) + raw)

    def token(self, subject: NatsKey, **claims: object) -> str:
        """A JWT in which this key says something about another."""
        body = {"jti": "test", "iat": int(time.time()), "iss": self.public, "sub": subject.public, "name": "test"}
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, {**body, "nats": {**claims, "version": 2}}]
        text = ".".join(self._base64(json.dumps(part).encode()) for part in parts)
        return f"{text}.{self._base64(self._key.sign(text.encode()))}"

    @staticmethod
    def _spelled(body: bytes) -> str:
        return base64.b32encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "little")).decode().rstrip("=")

    @staticmethod
    def _base64(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")


def operated() -> tuple[str, str]:
    """The settings of a server in operator mode, and the content of a `.creds` file for a user of it."""
    operator, system, account, user = (NatsKey(letter) for letter in "OAAU")
    endless = dict.fromkeys(
        ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams",
         "consumer"), -1)  # fmt: skip
    accounts = {
        one.public: operator.token(one, type="account", limits={**endless, "wildcards": True} if one is account else
                                   {**endless, "wildcards": True, "mem_storage": 0, "disk_storage": 0})
        for one in (system, account)
    }  # fmt: skip
    preload = ", ".join(f"{name}: {token}" for name, token in accounts.items())
    settings = (
        f"operator: {operator.token(operator, type='operator', system_account=system.public)}\n"
        f"system_account: {system.public}\nresolver: MEMORY\nresolver_preload: {{ {preload} }}"
    )
    login = account.token(user, type="user", subs=-1, data=-1, payload=-1)
    return settings, (
        f"-----BEGIN NATS USER JWT-----\n{login}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )


@contextlib.asynccontextmanager
async def client(server: NatsProcess, **login: object) -> AsyncIterator[Client]:
    """Somebody else at the server."""
    connected = await nats.connect(server.url, allow_reconnect=False, **login)
    try:
        yield connected
    finally:
        await connected.close()


async def stream_of(
    server: NatsProcess, stream: str = "LORAWAN", **login: object
) -> Sequence[nats.js.api.RawStreamMsg]:
    """All that is in a stream, in its order, with headers and subjects."""
    async with client(server, **login) as connected:
        context = connected.jetstream()
        state = (await context.stream_info(stream)).state
        found = range(state.first_seq, state.last_seq + 1) if state.messages else ()
        return [await context.get_msg(stream, seq) for seq in found]


async def make_stream(server: NatsProcess, name: str = "LORAWAN", subjects: Sequence[str] = ("lorawan.>",), **config):
    """A stream as an operator makes one."""
    async with client(server) as connected:
        await connected.jetstream().add_stream(name=name, subjects=[*subjects], **config)
