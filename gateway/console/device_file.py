"""A device as people write it: options of `device add`, a TOML fragment with keys, rows of a CSV file.

All three are the same flat names and texts, so one reader judges them: `read_device`. What it finds wrong is a list of
mistakes, each a field and a sentence; who called it knows where the field stood (an option, a line of a file).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, RootKeys, Session
from gateway.settings.models import REGIONS
from gateway.settings.toml_file import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.store.devices import NewDevice

Mistake = tuple[str, str]
"""A field (`dev_eui`, `var.NAME`) and what is wrong with it."""

FACTS = (
    "dev_eui",
    "name",
    "codec",
    "region_profile",
    "mac_version",
    "class",
    "skip_f_cnt_check",
    "join_eui",
    "dev_addr",
)
ROOT_KEYS = ("app_key", "nwk_key")
SESSION_KEYS_1_0 = ("nwk_s_key", "app_s_key")
SESSION_KEYS_1_1 = ("f_nwk_s_int_key", "s_nwk_s_int_key", "nwk_s_enc_key", "app_s_key")
KEYS = (*ROOT_KEYS, "nwk_s_key", *SESSION_KEYS_1_1)
FIELDS = (*FACTS, *KEYS)
"""Everything that is said of a device, beside its variables and tags."""

MOST_TEXT = 200  # characters of a name, a variable, a tag: more is a pasted file


@dataclass(frozen=True, slots=True)
class Described:
    """What somebody wrote about one device; texts as they were written, empty ones left out."""

    fields: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CodecNames:
    """The codecs a device may name."""

    known: frozenset[str]

    def read(self, text: str) -> str:
        """The name, if there is such a codec; ValueError offers the nearest."""
        if text in self.known:
            return text
        near = _nearest_codec(text, self.known)
        offer = f"did you mean {near}?" if near else "lorawan-gateway codec list names them all"
        raise ValueError(f"there is no codec {shown(text)}; {offer}")


@lru_cache(maxsize=64)
def _nearest_codec(text: str, known: frozenset[str]) -> str | None:
    """The same misspelt name stands in every row of a file."""
    return nearest(text, known)


# --- one field ------------------------------------------------------------------------------------------------------


def _read_name(text: str) -> str:
    if len(text) > MOST_TEXT or not text.isprintable():
        raise ValueError(f"a name has at most {MOST_TEXT} printable characters")
    return text


def _read_region(text: str) -> str:
    found = next((name for name in REGIONS if name.casefold() == text.casefold()), None)
    if found is None:
        raise ValueError(f"{shown(text)} is no region; one of {', '.join(REGIONS)}")
    return found


def _read_mac_version(text: str) -> MacVersion:
    try:
        return MacVersion(f"{text}.0" if text == "1.1" else text)
    except ValueError:
        raise ValueError(f"{shown(text)} is no LoRaWAN version; one of {', '.join(MacVersion)}") from None


def _read_class(text: str) -> str:
    if text.upper() not in {"A", "C"}:
        raise ValueError(f"{shown(text)} is not served; A or C")
    return text.upper()


_TRUTH = {
    **dict.fromkeys(("true", "1", "yes", "x", "vrai", "oui", "ja", "wahr"), True),
    **dict.fromkeys(("false", "0", "no", "faux", "non", "nein", "falsch"), False),
}


def read_truth(text: str) -> bool:
    """A yes or no, also as spreadsheets of other languages write it."""
    try:
        return _TRUTH[text.casefold()]
    except KeyError:
        raise ValueError(f"{shown(text)} is neither true nor false") from None


def _identifier(parse: Callable[[str], Any], digits: int) -> Callable[[str], Any]:
    """Reads hex digits, and knows what a spreadsheet does to them."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            if re.fullmatch(r"\d([.,]\d+)?E\+?\d+", text, re.IGNORECASE):
                raise ValueError(f"{error}; a spreadsheet took it for a number: make the column text") from None
            if re.fullmatch(rf"\d{{{digits - 4},{digits - 1}}}", text):
                raise ValueError(f"{error}; a spreadsheet may have dropped zeros in front") from None
            raise

    return read


READERS: Mapping[str, Callable[[str], Any]] = {
    "dev_eui": _identifier(DevEui.parse, 16),
    "name": _read_name,
    "region_profile": _read_region,
    "mac_version": _read_mac_version,
    "class": _read_class,
    "skip_f_cnt_check": read_truth,
    "join_eui": _identifier(JoinEui.parse, 16),
    "dev_addr": _identifier(DevAddr.parse, 8),
    **dict.fromkeys(KEYS, AesKey.parse),
}


def read_fields(described: Described, codecs: CodecNames) -> tuple[dict[str, Any], list[Mistake]]:
    """Each field as its type, and what is wrong with the others. Fields are judged one by one here."""
    readers = {**READERS, "codec": codecs.read}
    typed: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for name, text in described.fields.items():
        try:
            typed[name] = readers[name](text)
        except ValueError as error:
            mistakes.append((name, f"is wrong: {error}"))
    mistakes += _label_mistakes("var", described.variables)
    mistakes += _label_mistakes("tag", described.tags)
    return typed, mistakes


_DEGREES = {"latitude": 90, "longitude": 180}
"""Tags that place a device on a platform's map."""


def _within(text: str, limit: int) -> bool:
    return bool(re.fullmatch(r"[+-]?\d{1,3}(\.\d{1,15})?", text)) and abs(float(text)) <= limit


def _label_mistakes(kind: str, labels: Mapping[str, str]) -> Iterable[Mistake]:
    for name, value in labels.items():
        key = f"{kind}.{shown(name)[1:-1]}"
        if not name.isprintable() or re.search(r"[\s=;,\"]", name) or len(name) > MOST_TEXT:
            yield key, 'is no name: it has no blanks, no = ; , or "'
        elif not value.isprintable() or len(value) > MOST_TEXT:
            yield key, f"has at most {MOST_TEXT} printable characters"
        elif kind == "tag" and (limit := _DEGREES.get(name)) and not _within(value, limit):
            yield key, f"is {shown(value)}; degrees are wanted, from -{limit} to {limit}"


# --- fields together ------------------------------------------------------------------------------------------------


def read_device(described: Described, codecs: CodecNames) -> tuple[NewDevice | None, list[Mistake]]:
    """The device with its session or its root keys; or None and everything that is wrong or missing."""
    from gateway.store.devices import NewDevice

    typed, mistakes = read_fields(described, codecs)
    given = described.fields.keys()
    mistakes += ((name, "is missing") for name in ("dev_eui", "name") if name not in given)
    joins, has_session = _activations(given)
    if joins and has_session:
        wrong = next(name for name in ("dev_addr", *KEYS) if name in given and name not in ROOT_KEYS)
        mistakes.append((wrong, f"and root keys are both given: {_TWO_WAYS}"))
    elif joins:
        mistakes += _join_mistakes(given, typed)
    elif has_session:
        mistakes += _session_mistakes(given, typed)
    else:
        mistakes.append(("app_key", f"is missing: {_TWO_WAYS}"))
    if mistakes:
        return None, mistakes
    device = _device(described, typed)
    return NewDevice(device, *((None, _root_keys(typed)) if joins else (_session(device, typed), None))), []


_TWO_WAYS = "a device that joins has join_eui and app_key; one with a session has dev_addr, nwk_s_key and app_s_key"


def _activations(given: Iterable[str]) -> tuple[bool, bool]:
    names = set(given)
    return not names.isdisjoint(ROOT_KEYS), "dev_addr" in names or _session_key(names)


def _session_key(given: Iterable[str]) -> bool:
    return not set(given).isdisjoint({"nwk_s_key", *SESSION_KEYS_1_1})


def _join_mistakes(given: Iterable[str], typed: Mapping[str, Any]) -> Iterable[Mistake]:
    names, version = set(given), typed.get("mac_version")
    if "join_eui" not in names:
        yield "join_eui", "is missing: a device that joins has join_eui and app_key"
    if "app_key" not in names:
        yield (
            "app_key",
            "is missing: 1.1 has app_key and nwk_key, 1.0.x has app_key alone (which ChirpStack calls nwk_key)",
        )
    elif version is not None and version.is_1_1 and "nwk_key" not in names:
        yield "nwk_key", "is missing: a 1.1 device joins with app_key and nwk_key"
    elif version is not None and not version.is_1_1 and "nwk_key" in names:
        yield "nwk_key", f"belongs to LoRaWAN 1.1, but mac_version is {version}: a 1.0.x device has app_key alone"


def _session_mistakes(given: Iterable[str], typed: Mapping[str, Any]) -> Iterable[Mistake]:
    names, version = set(given), typed.get("mac_version")
    only_1_1 = [name for name in SESSION_KEYS_1_1 if name in names and name != "app_s_key"]
    if "nwk_s_key" in names and only_1_1:
        yield "nwk_s_key", f"and {only_1_1[0]} are both given: the first is LoRaWAN 1.0.x, the second 1.1"
        return
    if "nwk_s_key" in names and version is not None and version.is_1_1:
        yield "nwk_s_key", f"belongs to LoRaWAN 1.0.x; 1.1 has {', '.join(SESSION_KEYS_1_1)}"
        return
    if only_1_1 and version is not None and not version.is_1_1:
        yield only_1_1[0], f"belongs to LoRaWAN 1.1, but mac_version is {version}: 1.0.x has nwk_s_key and app_s_key"
        return
    is_1_1 = bool(only_1_1) or (version is not None and version.is_1_1)
    wanted = ("dev_addr", *(SESSION_KEYS_1_1 if is_1_1 else SESSION_KEYS_1_0))
    for name in wanted:
        if name not in names:
            yield name, f"is missing: a {'1.1' if is_1_1 else '1.0.x'} session has {', '.join(wanted)}"


def _device(described: Described, typed: Mapping[str, Any]) -> Device:
    is_1_1 = not typed.keys().isdisjoint({"nwk_key", "f_nwk_s_int_key"})
    return Device(
        dev_eui=typed["dev_eui"],
        name=typed["name"],
        codec=typed.get("codec"),
        region_profile=typed.get("region_profile"),
        mac_version=typed.get("mac_version", MacVersion.V1_1_0 if is_1_1 else MacVersion.V1_0_3),
        device_class=typed.get("class", "A"),
        skip_f_cnt_check=typed.get("skip_f_cnt_check", False),
        join_eui=typed.get("join_eui"),
        variables=dict(described.variables),
        tags=dict(described.tags),
    )


def _root_keys(typed: Mapping[str, Any]) -> RootKeys:
    return RootKeys(app_key=typed["app_key"], nwk_key=typed.get("nwk_key"))


def _session(device: Device, typed: Mapping[str, Any]) -> Session:
    key = typed.get("nwk_s_key")
    return Session(
        dev_eui=device.dev_eui,
        dev_addr=typed["dev_addr"],
        mac_version=device.mac_version,
        f_nwk_s_int_key=key or typed["f_nwk_s_int_key"],
        s_nwk_s_int_key=key or typed["s_nwk_s_int_key"],
        nwk_s_enc_key=key or typed["nwk_s_enc_key"],
        app_s_key=typed["app_s_key"],
        skip_f_cnt_check=device.skip_f_cnt_check,
    )


# --- and back -------------------------------------------------------------------------------------------------------


def describe(device: Device, session: Session | None = None, root_keys: RootKeys | None = None) -> Described:
    """What somebody would write to enter this device again; keys only where they are handed in."""
    fields = {
        "dev_eui": str(device.dev_eui),
        "name": device.name,
        "codec": device.codec or "",
        "region_profile": device.region_profile or "",
        "mac_version": str(device.mac_version),
        "class": device.device_class,
        "skip_f_cnt_check": "true" if device.skip_f_cnt_check else "",
        "join_eui": str(device.join_eui) if device.join_eui else "",
    }
    if root_keys is not None:
        fields |= {"app_key": root_keys.app_key.hex(), "nwk_key": root_keys.nwk_key.hex() if root_keys.nwk_key else ""}
    elif session is not None:
        fields |= {"dev_addr": str(session.dev_addr), "app_s_key": session.app_s_key.hex()}
        names = SESSION_KEYS_1_1[:3] if session.mac_version.is_1_1 else ()
        fields |= {name: getattr(session, name).hex() for name in names} or {"nwk_s_key": session.nwk_s_enc_key.hex()}
    return Described({name: text for name, text in fields.items() if text}, device.variables, device.tags)
