"""A connected socket, with TLS where asked, and in words why there is none.

All of it happens on the event loop, so that giving up leaves nothing behind. Only names are looked up in a thread,
because the system offers no other way.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why there is no connection, for a person. `alert`: waiting alone will not mend it."""

    words: str
    alert: bool = False


class Unreachable(Exception):  # noqa: N818 - a state, not a fault of ours
    """The other side cannot be reached, or not any more; why, for a person. `alert`: a person has to mend it."""

    def __init__(self, reason: str, *, alert: bool = False) -> None:
        super().__init__(reason)
        self.alert = alert


class HandshakeCutError(ConnectionError):
    """The other side hung up in the middle of the TLS handshake."""


async def dial(host: str, port: int, context: ssl.SSLContext | None, timeout_s: float) -> socket.socket:
    """A connected, non-blocking socket, wrapped when a TLS context is given. OSError (ssl.SSLError is one) if not.

    Every address of the host gets an equal share of the time, so that a dead IPv6 route does not hide a good IPv4 one.
    """
    loop = asyncio.get_running_loop()
    addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            # A reading is one small write; it must not wait for the acknowledgement of the one before.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(timeout_s / len(addresses)):
                await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock if context is None else await _wrap(sock, context, host)
    raise failure


def tls_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """What to trust and what to show; OSError with the file's name, or ValueError, when a file is of no use."""
    for file in (ca_file, cert_file, key_file):
        if file is not None:
            file.open("rb").close()  # the ssl module raises OSError without the name
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"{ca_file} holds no usable certificate of an authority ({error})") from error
    # Python 3.13 began to refuse authorities without key identifiers, as most home-made ones are. An upgrade of the
    # operating system must not silence a gateway; signatures, names and dates are checked as before.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if cert_file is not None:
        try:
            context.load_cert_chain(cert_file, key_file, password=_ask_nobody)
        except ssl.SSLError as error:
            raise ValueError(f"{cert_file} and {key_file or 'the key in it'} do not fit together ({error})") from error
    return context


def trouble_with(error: OSError) -> Trouble:
    """The words for what `dial` raised, or what a socket of it raised later."""
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return Trouble("no name server answers; is this gateway online?")
        case socket.gaierror():
            return Trouble("nobody knows this host name; check the url", alert=True)
        case ssl.SSLCertVerificationError():
            return _CERTIFICATE.get(error.verify_code) or Trouble(
                f"its certificate cannot be verified: {error.verify_message}", alert=True
            )
        case ConnectionResetError() | BrokenPipeError() | ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return Trouble("the other side cut the connection")
        case ssl.SSLError():
            return _TLS.get(error.reason) or Trouble(f"TLS failed: {error.reason or error}")
        case ConnectionRefusedError():
            return Trouble("the connection is refused; nothing listens on this port, or a firewall answers for it")
        case HandshakeCutError():
            return Trouble("the other side hung up during the TLS handshake; does this port speak TLS?")
        case TimeoutError():
            return Trouble("no answer to the connection; the host is off, or a firewall swallows it")
        case _:
            return Trouble(error.strerror or str(error) or type(error).__name__)


_NO_CLIENT_CERTIFICATE: Final = Trouble(
    "the other side wants a client certificate that it trusts; check cert_file and key_file", alert=True
)
_NO_TLS: Final = Trouble("this port does not speak TLS; check the port, or write the url without TLS", alert=True)

_CERTIFICATE: Final = {
    9: Trouble("its certificate is not valid yet; is the clock of this gateway right?"),  # heals itself with the clock
    10: Trouble("its certificate has expired; renew it there, or check the clock of this gateway", alert=True),
    18: Trouble("its certificate is signed by itself; name it in ca_file to trust it", alert=True),
    19: Trouble("its certificate comes from an authority unknown here; name that in ca_file", alert=True),
    20: Trouble("its certificate comes from an authority unknown here; name that in ca_file", alert=True),
    62: Trouble("its certificate is for another host name; use the name that it is for in url", alert=True),
    64: Trouble("its certificate is not for this IP address; use the name that it is for in url", alert=True),
}
"""X509_V_ERR_* of OpenSSL's x509_vfy.h that installers meet."""

_TLS: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,  # the same from OpenSSL 3.2 on
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _NO_CLIENT_CERTIFICATE,
    "SSLV3_ALERT_HANDSHAKE_FAILURE": _NO_CLIENT_CERTIFICATE,  # what TLS 1.2 says for it
    "TLSV1_ALERT_UNKNOWN_CA": _NO_CLIENT_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _NO_CLIENT_CERTIFICATE,  # programs in Go say this to all of them
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _NO_CLIENT_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": Trouble("our client certificate has expired; renew cert_file", alert=True),
}
"""Reasons of ssl.SSLError (OpenSSL's sslerr.h) that installers meet."""


async def _wrap(sock: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    loop = asyncio.get_running_loop()
    try:
        while True:
            try:
                tls.do_handshake()
            except (ConnectionError, ssl.SSLEOFError) as error:
                raise HandshakeCutError from error
            except ssl.SSLWantReadError:
                await _ready(tls, loop.add_reader, loop.remove_reader)
            except ssl.SSLWantWriteError:
                await _ready(tls, loop.add_writer, loop.remove_writer)
            else:
                return tls
    except BaseException:
        tls.close()
        raise


async def _ready(
    sock: socket.socket, watch: Callable[[int, Callable[[], None]], None], unwatch: Callable[[int], bool]
) -> None:
    ready = asyncio.Event()
    watch(sock.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        unwatch(sock.fileno())


def _ask_nobody() -> str:
    # Without this OpenSSL asks for the passphrase on the terminal, and waits.
    raise ValueError("the key is encrypted with a passphrase, and nobody is here to type it; store it without")
