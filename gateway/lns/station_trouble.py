"""Why a Basics Station server cannot be had, in words for a person."""

from __future__ import annotations

import socket
import ssl
from typing import Final

import aiohttp


class Away(Exception):  # noqa: N818 - reads as the sentence it is
    """There is no connection, or no longer. `alert`: waiting alone will not mend it.

    `words` say what is wrong, and behind a semicolon what to do; with a `hint` they say only the first.
    """

    def __init__(self, words: str, *, hint: str = "", alert: bool = False) -> None:
        super().__init__(words)
        self.words = words
        self.hint = hint
        self.alert = alert


_STATUS: Final = {
    401: "it wants a token, or another one than ours; check token_file",
    403: "it does not let this gateway in; check token_file or cert_file, and whether it knows our EUI",
    404: "it knows no such address; check the port of server",
}

_NOT_YET_VALID: Final = 9  # heals itself with the clock

_CERTIFICATE: Final = {
    9: "its certificate is not valid yet; if the clock of this gateway is wrong, connect it to a time server or GPS",
    10: "its certificate has expired; renew it there, or check the clock of this gateway",
    18: "its certificate is signed by itself; name it in ca_file to trust it",
    19: "its certificate comes from an authority unknown here; name that in ca_file",
    20: "its certificate comes from an authority unknown here; name that in ca_file",
    62: "its certificate is for another host name; use the name that it is for in server",
    64: "its certificate is not for this IP address; use the name that it is for in server",
}
"""X509_V_ERR_* of OpenSSL's x509_vfy.h that installers meet."""


_KINDS: Final = (
    (socket.gaierror, "nobody knows this host name, or no name server answers; check server, and the way out"),
    (ConnectionRefusedError, "the connection is refused; nothing listens on this port, or a firewall answers for it"),
    (TimeoutError, "no answer to the connection; the host is off, or a firewall swallows it"),
    ((ConnectionResetError, BrokenPipeError, aiohttp.ServerDisconnectedError), "the other side cut the connection"),
)


def away_for(error: BaseException, whose: str = "") -> Away:
    """Away with the sentence for what came of a connection, `whose` before it."""
    return Away(whose + words_for(error), alert=_needs_a_person(error))


def _needs_a_person(error: BaseException) -> bool:
    """Whether the other side answers, but not to us as we are."""
    match error:
        case aiohttp.WSServerHandshakeError(status=status):
            return status in _STATUS
        case aiohttp.ClientConnectorCertificateError():
            return _needs_a_person(error.certificate_error)
        case aiohttp.ClientConnectorError() if error.os_error is not error:
            return _needs_a_person(error.os_error)
        case ssl.SSLCertVerificationError(verify_code=code):
            return code != _NOT_YET_VALID
        case _:
            return False


def words_for(error: BaseException) -> str:
    """The sentence for what came of a connection."""
    match error:
        case aiohttp.WSServerHandshakeError(status=status):
            return _STATUS.get(status, f"it answers with status {status} instead of a web socket")
        case aiohttp.ClientConnectorCertificateError():
            return words_for(error.certificate_error)
        case aiohttp.ClientConnectorError() if error.os_error is not error:
            return words_for(error.os_error)
        case ssl.SSLCertVerificationError():
            return _CERTIFICATE.get(error.verify_code, f"its certificate cannot be verified: {error.verify_message}")
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}; does this port speak TLS, and take our certificate?"
        case _:
            found = next((words for kind, words in _KINDS if isinstance(error, kind)), None)
            return found or getattr(error, "strerror", None) or str(error) or type(error).__name__
