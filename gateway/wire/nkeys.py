"""NATS keys and credentials files as people get them: `SU…` seeds and the `.creds` file around one.

Source: the nkeys library's documentation: base32 without padding of one or two prefix bytes, 32 bytes of Ed25519 key
and a CRC-16 (XMODEM, little endian). No message here repeats a secret.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

_SEED_PREFIX = 18 << 3  # S
_USER_PREFIX = 20 << 3  # U
_CRC_BYTES = 2


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who logs in: the seed of an Ed25519 key, and the user's JWT where the server wants one."""

    seed: bytes = field(repr=False)
    jwt: str | None = field(default=None, repr=False)


def read_credentials(text: str) -> Credentials:
    """The content of a `.creds` file, or of a file that holds a user's seed alone. ValueError when it is neither."""
    blocks = dict(re.findall(r"-+BEGIN ([A-Z ]+)-+\s+([^\s-]\S*)\s+-+END", text))
    seed, jwt = blocks.get("USER NKEY SEED"), blocks.get("NATS USER JWT")
    if seed is None and not blocks:
        seed = text.strip()
    if not seed:
        raise ValueError("holds no USER NKEY SEED")
    if jwt is not None and re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+", jwt, re.ASCII) is None:
        raise ValueError("holds a NATS USER JWT that is none")
    return Credentials(read_seed(seed), jwt)


def read_seed(text: str) -> bytes:
    """The 32 bytes of a user's seed, `SU…`; ValueError when it is damaged or somebody else's."""
    try:
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
    except (binascii.Error, ValueError):
        raise ValueError("holds a seed that is no base32") from None
    if len(raw) != 2 + 32 + _CRC_BYTES or crc16(raw[:-_CRC_BYTES]) != int.from_bytes(raw[-_CRC_BYTES:], "little"):
        raise ValueError("holds a seed that is damaged")
    kind = ((raw[0] & 7) << 5) | (raw[1] >> 3)
    if raw[0] & 0xF8 != _SEED_PREFIX or kind != _USER_PREFIX:
        raise ValueError("holds a seed that is no user's")
    return raw[2:-_CRC_BYTES]


def public_key(raw: bytes) -> str:
    """The name of a user's public key, `U…`, of its 32 bytes."""
    body = bytes((_USER_PREFIX,)) + raw
    return base64.b32encode(body + crc16(body).to_bytes(_CRC_BYTES, "little")).decode().rstrip("=")


def crc16(data: bytes) -> int:
    """CRC-16/XMODEM, polynomial 0x1021."""
    return binascii.crc_hqx(data, 0)
