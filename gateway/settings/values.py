"""The kinds of values a settings file has beyond numbers and text, each with the sentence for a wrong one.

Every reader here takes what TOML gave and returns the typed value or raises ValueError; pydantic collects those. A
sentence continues `FILE:LINE key …`, so it starts with a verb. Where a secret may have been written by mistake, the
sentence does not repeat it.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, ValidationInfo

from gateway.errors import UsageError
from gateway.model import GatewayEui
from gateway.settings.toml_file import shown

if TYPE_CHECKING:
    from collections.abc import Callable


def _or_typed(kind: type, read: Callable[[Any], Any]) -> PlainValidator:
    """Reads what TOML gives, and leaves alone what a program hands over as its type."""
    return PlainValidator(lambda value: value if isinstance(value, kind) else read(value))


# --- durations and sizes --------------------------------------------------------------------------------------------

_DURATION_UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SIZE_UNITS = {
    "B": 1,
    "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_AMOUNT = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([A-Za-z]*)")
_LONGEST = timedelta(days=36_500)
_SMALLEST = 1 << 20


def read_duration(value: object) -> timedelta:
    """`"500ms"`, `"10s"`, `"5min"`, `"12h"`, `"30d"`."""
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in _DURATION_UNITS_MS:
        raise ValueError(f'is {shown(value)}, not a duration such as "500ms", "10s", "5min", "12h" or "30d"')
    # Whole microseconds: "0.1s" has to be exactly 100 ms.
    duration = timedelta(microseconds=round(float(found[1]) * _DURATION_UNITS_MS[found[2]] * 1000))
    if duration > _LONGEST:
        raise ValueError(f"is {shown(value)}, longer than a hundred years")
    return duration


def read_size(value: object) -> int:
    """`"4GiB"`, `"500MB"`: bytes."""
    found = _AMOUNT.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZE_UNITS:
        raise ValueError(f'is {shown(value)}, not a size such as "500MB" or "4GiB"')
    size = round(float(found[1]) * _SIZE_UNITS[found[2]])
    if size < _SMALLEST:
        raise ValueError(f"is {shown(value)}; at least 1MiB is needed")
    return size


def _longer_than_zero(duration: timedelta) -> timedelta:
    if not duration:
        raise ValueError('is "0"; this has to be longer')
    return duration


Duration = Annotated[timedelta, _or_typed(timedelta, read_duration)]
PositiveDuration = Annotated[Duration, AfterValidator(_longer_than_zero)]
Size = Annotated[int, PlainValidator(read_size)]


# --- addresses and URLs ---------------------------------------------------------------------------------------------

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_HOST6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.-]+)?")
LOOPBACK_HOSTS = frozenset({"localhost", "::1", "127.0.0.1"})


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; `str()` puts IPv6 in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def read_listen(value: object) -> Address:
    """`"127.0.0.1:8080"`, where to listen; port 0 lets the system choose."""
    return _read_address(value, '"127.0.0.1:8080"', lowest_port=0)


def read_server(value: object) -> Address:
    """`"lns.example.org:1700"`, whom to talk to."""
    return _read_address(value, '"lns.example.org:1700"', lowest_port=1)


def _read_address(value: object, example: str, *, lowest_port: int) -> Address:
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, not an address such as {example}")  # noqa: TRY004 - pydantic collects these
    if "://" in value:
        raise ValueError(f"is {shown(value)}; this is an address without scheme, such as {example}")
    host, colon, port = value.strip().rpartition(":")
    if not colon or not port.isascii() or not port.isdigit():
        raise ValueError(f"is {shown(value)}, not host and port such as {example}")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not host:
        raise ValueError(f"is {shown(value)}; it lacks the host, such as {example}; 0.0.0.0 stands for all interfaces")
    if not (_HOST6 if bracketed else _HOST).fullmatch(host):
        raise ValueError(f'is {shown(value)}, whose host is no name or address (IPv6 needs brackets: "[::1]:1700")')
    if len(port) > 5 or not lowest_port <= int(port) <= 65_535:
        raise ValueError(f"is {shown(value)}; a port is a number from {lowest_port} to 65535")
    return Address(host, int(port))


Listen = Annotated[Address, _or_typed(Address, read_listen)]
Server = Annotated[Address, _or_typed(Address, read_server), Field(examples=["lns.example.org:1700"])]

_DEFAULT_PORTS = {
    "mqtt": 1883,
    "mqtts": 8883,
    "http": 80,
    "https": 443,
    "ws": 80,
    "wss": 443,
    "nats": 4222,
    "tls": 4222,
}
ENCRYPTED_SCHEMES = frozenset({"mqtts", "https", "wss", "tls"})


@dataclass(frozen=True, slots=True)
class Url:
    """Where a server is; `str()` gives the URL as it was written."""

    text: str
    scheme: str
    host: str
    port: int
    path: str

    @property
    def encrypted(self) -> bool:
        """Whether the scheme asks for TLS."""
        return self.scheme in ENCRYPTED_SCHEMES

    def __str__(self) -> str:
        return self.text


def read_url(value: object, schemes: tuple[str, ...], *, with_path: bool = True) -> Url:
    """A URL with one of the schemes, without a login in it."""
    example = " or ".join(f"{scheme}://host:{_DEFAULT_PORTS[scheme]}" for scheme in schemes)
    if not isinstance(value, str):
        raise ValueError(f"is {shown(value)}, not a URL such as {example}")  # noqa: TRY004 - pydantic collects these
    if "@" in value.partition("://")[2].partition("/")[0] or ("://" not in value and "@" in value):
        raise ValueError("carries a login; take it out of the URL and use username and password_file or token_file")
    text = value.strip()
    if "://" not in text:
        raise ValueError(f"is {shown(value)}, without its scheme; write {example}")
    if not text.isprintable() or " " in text:
        raise ValueError(f"is {shown(value)}; a URL has no blanks or control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"is {shown(value)}: {error}") from None
    return _checked_url(parts, port, schemes, example, with_path=with_path)


def _checked_url(
    parts: SplitResult, port: int | None, schemes: tuple[str, ...], example: str, *, with_path: bool
) -> Url:
    text = parts.geturl()
    if parts.scheme not in schemes:
        raise ValueError(f"is {shown(text)}; the scheme is one of {', '.join(schemes)}: {example}")
    host = parts.hostname or ""
    if not (_HOST6 if ":" in host else _HOST).fullmatch(host):
        raise ValueError(f"is {shown(text)}, whose host is no name or address; write {example}")
    if port == 0:
        raise ValueError(f"is {shown(text)}; a port is a number from 1 to 65535")
    if parts.fragment:
        raise ValueError(f"is {shown(text)}; take the part after # away")
    if not with_path and (parts.path.strip("/") or parts.query):
        raise ValueError(f"is {shown(text)}; nothing follows the port here: {example}")
    return Url(text, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme], parts.path)


def _url(*schemes: str, with_path: bool = True) -> PlainValidator:
    return _or_typed(Url, lambda value: read_url(value, schemes, with_path=with_path))


MqttUrl = Annotated[Url, _url("mqtt", "mqtts", with_path=False), Field(examples=["mqtt://broker.example.org:1883"])]
HttpUrl = Annotated[Url, _url("http", "https"), Field(examples=["http://server.example.org:1026"])]
HttpsUrl = Annotated[Url, _url("https")]
WebSocketUrl = Annotated[Url, _url("ws", "wss")]
NatsUrl = Annotated[Url, _url("nats", "tls", with_path=False), Field(examples=["nats://nats.example.org:4222"])]


# --- identities -----------------------------------------------------------------------------------------------------


def read_gateway_eui(value: object) -> GatewayEui | None:
    """`"auto"` (None) or 16 hex digits."""
    if value in ("auto", None):
        return None
    try:
        return GatewayEui.parse(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f'is {shown(value)}; write "auto" or the EUI as 16 hex digits in quotes') from None


def read_net_id(value: object) -> int:
    """Six hex digits: the 24-bit NetID."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{6}", value):
        raise ValueError(f'is {shown(value)}; a NetID has 6 hex digits in quotes, "000000" for a private network')
    return int(value, 16)


@dataclass(frozen=True, slots=True)
class Prefix:
    """All numbers of `bits` bits that begin like `value`: a range of DevAddrs or JoinEUIs."""

    value: int
    length: int
    bits: int

    def covers(self, number: int) -> bool:
        """Whether a number lies in this range."""
        return (number ^ self.value) >> (self.bits - self.length) == 0

    def __str__(self) -> str:
        return f"{self.value:0{self.bits // 4}x}/{self.length}"


def read_prefix(value: object, bits: int, example: str) -> Prefix:
    """`"26000000/7"`: the first bits of an identifier, and how many of them count."""
    digits = bits // 4
    text = value.strip().lower() if isinstance(value, str) else ""
    number, slash, length = text.partition("/")
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", number):
        raise ValueError(f'is {shown(value)}; a range has {digits} hex digits, "/" and a number of bits: "{example}"')
    if not slash:
        raise ValueError(f'lacks the number of bits; "{number}/{bits}" is this one alone, "{example}" a range')
    if not re.fullmatch(r"[0-9]{1,2}", length) or int(length) > bits:
        raise ValueError(f'is {shown(value)}; after "/" stands a number of bits from 0 to {bits}')
    free_bits = bits - int(length)
    prefix = Prefix(int(number, 16) >> free_bits << free_bits, int(length), bits)
    if prefix.value != int(number, 16):
        raise ValueError(f'is {shown(value)}, with bits set behind the first {length}; write "{prefix}"')
    return prefix


GatewayEuiOrAuto = Annotated[GatewayEui | None, _or_typed(GatewayEui, read_gateway_eui)]
NetId = Annotated[int, PlainValidator(read_net_id)]
DevAddrRange = Annotated[Prefix, _or_typed(Prefix, lambda value: read_prefix(value, 32, "26000000/7"))]
JoinEuiRange = Annotated[Prefix, _or_typed(Prefix, lambda value: read_prefix(value, 64, "70b3d57ed0000000/40"))]


# --- files ----------------------------------------------------------------------------------------------------------


def read_path(value: object, info: ValidationInfo) -> Path:
    """A path; a relative one counts from the folder of the settings file."""
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"is {shown(value)}, not a path in quotes")
    if not value.isprintable():
        raise ValueError(f"is {shown(value)}; a path has no control characters")
    if value.startswith("~"):
        raise ValueError(f"is {shown(value)}; write the whole path, the service has no home folder")
    folder: Path = (info.context or {}).get("folder", Path())
    return folder / value


def read_scenario(value: object, info: ValidationInfo) -> Path:
    """A scenario beside the settings file; where there is none, the name of a shipped one."""
    path = read_path(value, info)
    return path if path.exists() else Path(str(value))


FilePath = Annotated[Path, PlainValidator(read_path)]
ScenarioPath = Annotated[Path, PlainValidator(read_scenario)]


# --- secrets --------------------------------------------------------------------------------------------------------

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"  # systemd.exec(5), LoadCredential=
_CREDENTIAL = "credential:"


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret lies: a path, or `credential:NAME` that systemd hands to the service. Not the secret itself."""

    source: str

    def __str__(self) -> str:
        return self.source

    @property
    def is_credential(self) -> bool:
        """Whether systemd hands it over."""
        return self.source.startswith(_CREDENTIAL)


def read_secret(value: object) -> Secret:
    """`"/path/of/a/file"` or `"credential:NAME"`. What else stands there may be the secret, so it is not repeated."""
    wanted = "is the path of a file that holds the secret (it begins with /), or credential:NAME"
    if not isinstance(value, str):
        raise ValueError(wanted)  # noqa: TRY004 - pydantic collects these
    if value.startswith(_CREDENTIAL):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value.removeprefix(_CREDENTIAL)):
            raise ValueError(f"{wanted}; a credential's name has letters, digits, dots, dashes and underscores")
    elif not value.startswith("/") or not value.isprintable():
        raise ValueError(f"{wanted}; what stands here is neither")
    return Secret(value)


SecretFile = Annotated[Secret, _or_typed(Secret, read_secret)]


def secret_path(secret: Secret) -> Path:
    """The file a secret lies in, for what wants a path (certificates). UsageError when systemd gave no credentials."""
    if not secret.is_credential:
        return Path(secret.source)
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        raise UsageError(
            f"{secret} is handed over by systemd, and this process got no credentials",
            hint=f"run as the service with LoadCredential={secret.source.removeprefix(_CREDENTIAL)}:…, or name a file",
        )
    return Path(folder) / secret.source.removeprefix(_CREDENTIAL)


def secret(value: Secret) -> str:
    """The secret itself, read now, without one newline at its end. UsageError when it cannot be read."""
    path = secret_path(value)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(
            f"the secret {value} cannot be read: {reason}",
            hint=f"make {path} a text file that the gateway's user may read",
        ) from error
    return text.removesuffix("\n").removesuffix("\r")


# --- text -----------------------------------------------------------------------------------------------------------


def _as_tuple(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {shown(value)}, not a list; write [{shown(value)}]")  # noqa: TRY004 - pydantic collects these
    return tuple(value)


AsTuple = BeforeValidator(_as_tuple)


def matching(pattern: str, rule: str) -> AfterValidator:
    """Text of a form; `rule` ends the sentence for text of another form."""
    compiled = re.compile(pattern)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            raise ValueError(f"is {shown(value)}; {rule}")
        return value

    return AfterValidator(check)


def template(*names: str, required: str = "") -> AfterValidator:
    """Text with `{name}` in it, of these names only; `required` has to be one of them."""

    def check(value: str) -> str:
        for found in re.findall(r"\{[^{}]*\}|[{}]", value):
            if found[1:-1] not in names:
                raise ValueError(f"has {shown(found)}; known here: {', '.join(f'{{{name}}}' for name in names)}")
        if required and f"{{{required}}}" not in value:
            raise ValueError(f"is {shown(value)}; without {{{required}}} all devices would share one name")
        return value

    return AfterValidator(check)


def at_most(limit: str, why: str) -> AfterValidator:
    """A duration up to a limit, with the reason for it."""
    bound = read_duration(limit)

    def check(value: timedelta) -> timedelta:
        if value > bound:
            raise ValueError(f"is longer than {limit}: {why}")
        return value

    return AfterValidator(check)


def at_least(limit: str, why: str) -> AfterValidator:
    """A duration from a limit on, with the reason for it."""
    bound = read_duration(limit)

    def check(value: timedelta) -> timedelta:
        if value < bound:
            raise ValueError(f"is shorter than {limit}: {why}")
        return value

    return AfterValidator(check)


def between(low: float, high: float, unit: str = "") -> AfterValidator:
    """A number in a range."""

    def check(value: float) -> float:
        if not low <= value <= high:
            raise ValueError(f"is {shown(value)}; it lies between {low:g} and {high:g}{unit}")
        return value

    return AfterValidator(check)
