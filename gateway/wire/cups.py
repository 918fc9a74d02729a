"""What a CUPS server of Basics Station is told and answers: where to connect from now on, and with which credentials.

The question is JSON, the answer binary: counted parts, little endian. A part may be empty: no change. The last part is
a program that Station would execute; here its size is all that is read of it.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import orjson

from gateway.wire.station_json import MalformedMessage
from gateway.wire.station_names import id6

if TYPE_CHECKING:
    from gateway.model import GatewayEui

NOTHING: Final = bytes(4)
"""What stands for a piece that is not there, in a blob and under a checksum."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An authority to trust, our certificate, its key or a token; empty where there is none. Shows itself nowhere."""

    trust: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    @property
    def crc(self) -> int:
        """By which a server knows what is installed here."""
        return zlib.crc32(b"".join(piece or NOTHING for piece in (self.trust, self.certificate, self.key)))


@dataclass(frozen=True, slots=True)
class UpdateInfo:
    """The answer; None and 0: no change."""

    cups_uri: str | None
    tc_uri: str | None
    cups_credentials: Credentials | None
    tc_credentials: Credentials | None
    signature_bytes: int = 0
    program_bytes: int = 0  # never taken


def write_update_info(
    eui: GatewayEui,
    *,
    cups_uri: str | None,
    tc_uri: str | None,
    cups: Credentials,
    tc: Credentials,
    station: str,
    model: str,
    package: str | None,
) -> bytes:
    """What is posted to `/update-info`. We hold no keys for signed programs: there are none for us."""
    return orjson.dumps(
        {
            "router": id6(eui),
            "cupsUri": cups_uri,
            "tcUri": tc_uri,
            "cupsCredCrc": cups.crc,
            "tcCredCrc": tc.crc,
            "station": station,
            "model": model,
            "package": package,
            "keys": [],
        }
    )


def read_update_info(body: bytes) -> UpdateInfo:
    """The answer to it; MalformedMessage when a part is cut off, too much, or cannot be."""
    parts, at = [], 0
    for count in (struct.Struct("<B"), struct.Struct("<B"), *[struct.Struct("<H")] * 2, *[struct.Struct("<I")] * 2):
        if at + count.size > len(body):
            raise MalformedMessage(f"the answer ends after {len(body)} bytes, in the midst of its parts")
        (size,) = count.unpack_from(body, at)
        at += count.size
        if at + size > len(body):
            raise MalformedMessage(f"the answer announces {size} bytes where {len(body) - at} are left")
        parts.append(body[at : at + size])
        at += size
    if at != len(body):
        raise MalformedMessage(f"the answer goes on for {len(body) - at} bytes after its last part")
    return UpdateInfo(
        cups_uri=_uri(parts[0], ("https://",)),
        tc_uri=_uri(parts[1], ("wss://", "ws://")),
        cups_credentials=read_credentials(parts[2]) if parts[2] else None,
        tc_credentials=read_credentials(parts[3]) if parts[3] else None,
        signature_bytes=len(parts[4]),
        program_bytes=len(parts[5]),
    )


def read_credentials(blob: bytes) -> Credentials:
    """The three pieces of a blob: authority, certificate, key or token, each DER, four zero bytes, or at last a text.

    Every DER length is understood. Station's own reader knows two forms only, and drops an EC key in PKCS#8, 138 bytes.
    """
    trust, rest = _piece(blob)
    certificate, rest = _piece(rest)
    if not rest:
        raise MalformedMessage("credentials without a third piece")
    return Credentials(trust, certificate, b"" if rest == NOTHING else rest)


def _piece(blob: bytes) -> tuple[bytes, bytes]:
    if blob[:4] == NOTHING:
        return b"", blob[4:]
    size = _der_size(blob)
    if size > len(blob):
        raise MalformedMessage("credentials whose certificate is cut off")
    return blob[:size], blob[size:]


def _der_size(blob: bytes) -> int:
    """How long the DER sequence at the start is, with its head (ITU-T X.690, section 8.1.3)."""
    if len(blob) < 2 or blob[0] != 0x30:
        raise MalformedMessage("credentials that hold no DER")
    short = blob[1]
    if short < 0x80:
        return 2 + short
    digits = short & 0x7F
    if not 1 <= digits <= 4 or len(blob) < 2 + digits:
        raise MalformedMessage("credentials with a length that cannot be")
    return 2 + digits + int.from_bytes(blob[2 : 2 + digits], "big")


def _uri(part: bytes, schemes: tuple[str, ...]) -> str | None:
    if not part:
        return None
    try:
        uri = part.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        raise MalformedMessage("a URI that is no text") from None
    if not uri.startswith(schemes) or not uri.isprintable() or " " in uri or uri.endswith("//"):
        raise MalformedMessage(f"a URI that does not begin with {' or '.join(schemes)}")
    return uri
