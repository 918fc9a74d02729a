"""Real brokers to test against: Mosquitto in a process of its own, certificates, and a subscriber that collects."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import hashlib
import ipaddress
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import aiomqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
START_S = 60.0  # a started broker answers within a few milliseconds; this is for a machine under load
PORTS = range(20_000, 32_000)  # below what Linux hands out by itself, so that only other tests compete for them


def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop a process until SIGCONT; none of its threads runs any more on return."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class Mosquitto:
    """A Mosquitto process with a generated configuration. The port stays the same over stop and start."""

    def __init__(
        self,
        folder: Path,
        *,
        persistence: bool = False,
        users: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
        client_ca: Path | None = None,
        acl: Sequence[str] = (),
        settings: Sequence[str] = (),
    ) -> None:
        """`users` maps names to passwords; `client_ca` asks clients for a certificate; `settings` are further lines."""
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
        if program is None:
            pytest.skip("no mosquitto here: apt-get install mosquitto")
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self.folder = folder
        folder.mkdir(parents=True)
        self._lines = [
            f"user {getpass.getuser()}",  # started by root it would become somebody who may not read this folder
            f"persistence {str(persistence).lower()}",
            f"persistence_location {folder}/",
            f"allow_anonymous {str(users is None).lower()}",
            *settings,
        ]
        if users is not None:
            self._lines.append(f"password_file {self._write('users', map(_password_line, users.items()))}")
        if acl:
            self._lines.append(f"acl_file {self._write('acl', acl)}")
        self._listener_lines = []
        if tls is not None:
            self._listener_lines += [f"certfile {tls.cert_file}", f"keyfile {tls.key_file}"]
        if client_ca is not None:
            self._listener_lines += [f"cafile {client_ca}", "require_certificate true"]
        self._tls = tls is not None
        self.port = 0
        self._starts = 0

    @property
    def url(self) -> str:
        """What goes into the settings of a sink."""
        return f"{'mqtts' if self._tls else 'mqtt'}://{HOST}:{self.port}"

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
        raise AssertionError(f"mosquitto does not start:\n{self.log}")

    def stop(self) -> None:
        """Ask it to end, as the system does: it tells its clients, and saves what it persists."""
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
        own_log = f"log_dest file {self.folder}/log-{self._starts}"
        config = self._write("conf", [own_log, f"listener {port} {HOST}", *self._listener_lines, *self._lines])
        self._process = subprocess.Popen([self._program, "-c", config], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while self._process.poll() is None and time.monotonic() < deadline:
            # Its own word: a connection alone might be answered by another test's broker while ours fails to bind.
            if " running\n" in self.log:
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

    def _write(self, name: str, lines: Iterable[str]) -> str:
        file = self.folder / name
        file.write_text("".join(f"{line}\n" for line in lines))
        file.chmod(0o600)
        return str(file)


def _password_line(login: tuple[str, str]) -> str:
    # The format of mosquitto_passwd: $7$ is PBKDF2 with SHA-512, iterations, salt, hash.
    name, password = login
    salt = os.urandom(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{name}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate and its key."""

    cert_file: Path
    key_file: Path


class Authority:
    """A throw-away certificate authority; `file` is its certificate."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "throw-away authority")])
        authority = (
            self._certificate(self._name, self._key.public_key(), timedelta(days=-1), timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))

    def issue(
        self,
        name: str = "server",
        *,
        hosts: Sequence[str] = (HOST, "localhost"),
        begins: timedelta = timedelta(hours=-1),
        ends: timedelta = timedelta(hours=1),
        passphrase: bytes | None = None,
    ) -> Certificate:
        """A certificate for these hosts (or a client called `name`), valid from and until now plus the given."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issued = self._certificate(subject, key.public_key(), begins, ends)
        issued = issued.add_extension(_usage(digital_signature=True), critical=True)
        if hosts:
            issued = issued.add_extension(
                x509.SubjectAlternativeName([_general_name(host) for host in hosts]), critical=False
            )
        files = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.cert_file.write_bytes(issued.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption(),
            )
        )
        return files

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: timedelta, ends: timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _usage(**granted: bool) -> x509.KeyUsage:
    kinds = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
        *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{kind: granted.get(kind, False) for kind in kinds})


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass(frozen=True)
class Heard:
    """A message as a subscriber got it."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Collector:
    """A subscriber that keeps what it hears, and comes back when its broker went away.

    With a `client_id` the broker keeps its subscription and queue for it while it is away.
    """

    def __init__(
        self,
        broker: Mosquitto,
        topic_filter: str = "#",
        *,
        client_id: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        self.heard: list[Heard] = []
        self._broker = broker
        self._filter = topic_filter
        self._login = {"username": username, "password": password, "tls_context": tls_context, "identifier": client_id}
        self._keeps = client_id is not None
        self._changed = asyncio.Event()
        self._subscribed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Subscribed from here on."""
        self._task = asyncio.create_task(self._collect())
        async with asyncio.timeout(START_S):
            await self._subscribed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Hear no more."""
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def until(self, enough: Callable[[list[Heard]], bool]) -> list[Heard]:
        """Wait until what was heard is enough; what it was."""
        try:
            async with asyncio.timeout(START_S):
                while not enough(self.heard):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            heard = "\n".join(map(repr, self.heard[-20:]))
            raise AssertionError(f"{len(self.heard)} messages were not enough, the last:\n{heard}") from None
        return self.heard

    async def _collect(self) -> None:
        kept = Properties(PacketTypes.CONNECT)
        kept.SessionExpiryInterval = 3600 if self._keeps else 0
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                client = aiomqtt.Client(
                    HOST,
                    self._broker.port,
                    protocol=aiomqtt.ProtocolVersion.V5,
                    clean_start=not self._keeps,
                    properties=kept,
                    **self._login,
                )
                async with client:
                    await client.subscribe(self._filter, qos=1)
                    self._subscribed.set()
                    async for message in client.messages:
                        payload = bytes(message.payload)
                        self.heard.append(Heard(str(message.topic), payload, message.qos, message.retain))
                        self._changed.set()
            await asyncio.sleep(0.05)
