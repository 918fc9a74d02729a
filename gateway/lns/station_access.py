"""How a Basics Station server is trusted, and how this gateway shows who it is.

Three pieces, each a file in the settings or sent by a CUPS server, PEM or DER: the authority to trust, a certificate of
our own with its key, or a token in the place of both. The system's own authorities are trusted where none is named.
"""

from __future__ import annotations

import re
import ssl
import tempfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_LABELS: Final = ("PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY")
_HEADER: Final = re.compile(r"([A-Za-z0-9-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Access:
    """What to trust and what to show; empty where there is none. Its `repr` shows nothing of it."""

    trust: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)  # of the certificate, or without one the token

    @classmethod
    def from_files(
        cls, ca_file: Path | None, cert_file: Path | None, key_file: Path | None, token_file: Path | None
    ) -> Access:
        """The content of the files; OSError with the file's name where one cannot be read."""
        trust, certificate, key, token = (
            b"" if file is None else file.read_bytes() for file in (ca_file, cert_file, key_file, token_file)
        )
        return cls(trust, certificate, key or token) if certificate else cls(trust, b"", token)

    def headers(self) -> dict[str, str]:
        """What the token says in each request; ValueError, which does not repeat it, when it is none.

        A file holds lines of `Name: value`, as Station has them, or the token alone.
        """
        if self.certificate or not self.key.strip():
            return {}
        try:
            lines = [line.strip() for line in self.key.decode("ascii").splitlines() if line.strip()]
        except UnicodeDecodeError:
            raise ValueError("the token is no text") from None
        if len(lines) == 1 and _TOKEN.fullmatch(lines[0]):
            return {"Authorization": f"Bearer {lines[0]}"}
        found = [_HEADER.fullmatch(line) for line in lines]
        if not all(found):
            raise ValueError("the token is neither a single word nor lines of `Name: value`")
        return {match[1]: match[2] for match in found if match is not None}

    def context(self) -> ssl.SSLContext:
        """TLS with all of it; ValueError says which piece is of no use."""
        try:
            context = ssl.create_default_context(cadata=_as_cadata(self.trust) or None)
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"no usable certificate of an authority to trust ({error})") from None
        # Python 3.13 began to refuse authorities without key identifiers, as most home-made ones are. Signatures, names
        # and dates are checked as before.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if self.certificate:
            self._show(context)
        return context

    def _show(self, context: ssl.SSLContext) -> None:
        why = ""
        for key in _as_pem_keys(self.key):
            # The ssl module takes a certificate from a file only.
            with tempfile.NamedTemporaryFile(suffix=".pem") as file:
                file.write(_as_pem(self.certificate) + b"\n" + key)
                file.flush()
                try:
                    context.load_cert_chain(file.name, password=_ask_nobody)
                except ssl.SSLError as error:
                    why = error.reason or str(error)
                else:
                    return
        raise ValueError(f"our certificate and its key do not fit together ({why or 'no key'})")


def _as_cadata(trust: bytes) -> str | bytes:
    return trust.decode("ascii", "replace") if b"-----BEGIN" in trust else trust


def _as_pem(certificate: bytes) -> bytes:
    return certificate if b"-----BEGIN" in certificate else ssl.DER_cert_to_PEM_cert(certificate).encode()


def _as_pem_keys(key: bytes) -> list[bytes]:
    """A DER key does not say what it is: PKCS#8, SEC1 or PKCS#1."""
    if b"-----BEGIN" in key or not key:
        return [key]
    body = ssl.DER_cert_to_PEM_cert(key).encode()
    return [body.replace(b"CERTIFICATE", label.encode()) for label in _LABELS]


def _ask_nobody() -> str:
    # Without this OpenSSL asks for the passphrase on the terminal, and waits.
    raise ValueError("the key is encrypted with a passphrase, and nobody is here to type it; store it without")
