"""The home folder of Basics Station: `station.conf`, and the files that say where its servers are and how to log in.

Names and keys are those of Station 2.0.6 (src/sys.c, src-linux/sys_linux.c, src/s2conf.h, src/sx130xconf.c). Station's
reader takes comments in JSON and quotes around every key and text, and so does ours. What channels there are, its
server says when it connects: nothing of them stands here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gateway.settings.importing.draft import plain_eui
from gateway.settings.importing.foreign import Key, Sheet
from gateway.settings.importing.hardware import Hardware
from gateway.settings.importing.semtech import gain_table
from gateway.settings.toml_file import shown
from gateway.settings.values import LOOPBACK_HOSTS, Url, read_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.settings.importing.draft import Draft
    from gateway.settings.importing.foreign import ForeignFile

ROOTS = ("SX1302_conf", "sx1302_conf", "SX1301_conf", "sx1301_conf", "radio_conf")
_HOME = re.compile(r"(tc|cups)(-boot|-bak|-temp)?\.(uri|trust|crt|key)")
_STATION = "station_conf"
_NOT_HERE = {
    "euiprefix": "is put before a MAC address by Station: write the EUI the server knows into gateway.eui",
    "log_file": "is about Station's own log: ours goes to the journal",
    "log_level": "is about Station's own log: ours goes to the journal",
    "log_rotate": "is about Station's own log: ours goes to the journal",
    "log_size": "is about Station's own log: ours goes to the journal",
    "radio_init": "is a script that resets the concentrator: boards bring their reset, radio.reset names the pin",
    "gps": "is not taken over: gps.device names the receiver where this gateway has the concentrator",
    "pps": "has no place here: a pulse on the concentrator is noticed by itself",
    "web_dir": "is about Station's own pages: console.listen has ours",
    "web_port": "is about Station's own pages: console.listen has ours",
}
_LAW = frozenset({"nocca", "nodc", "nodwell", "device_mode"})


def is_home_file(base: str) -> bool:
    """Whether a name is that of an address or credential of Station."""
    return _HOME.fullmatch(base) is not None


# --- servers and credentials ------------------------------------------------------------------------------------------


def read_home(files: Mapping[str, ForeignFile], draft: Draft) -> list[Key]:
    """Take over server and credentials, by the names of the files; a key for each file, settled."""
    keys = {base: Key(file.name, 1, (base,), file) for base, file in files.items()}
    for base, key in keys.items():
        if not files[base].content.strip():
            draft.take(key)  # as if it were not there
        elif not re.fullmatch(r"(tc|cups)\.\w+", base):
            draft.leave(key, "is a copy that Station goes back to when it finds no server; the one in use counts")
    server = _address(keys.get("tc.uri"), draft, ("ws", "wss"))
    cups = _address(keys.get("cups.uri"), draft, ("https",))
    if server is not None:
        name = _lns(draft, server, ("server", _without_path(server)), keys["tc.uri"])
        _credentials(draft, name, "tc", keys, encrypted=server.encrypted)
        if cups is not None and _same_credentials(files):
            draft.put(("lns", name, "cups"), str(cups), keys["cups.uri"])
            for part in ("trust", "crt", "key"):
                draft.take(keys.get(f"cups.{part}"))
    elif cups is not None:
        name = _lns(draft, cups, ("cups", str(cups)), keys["cups.uri"])
        _credentials(draft, name, "cups", keys, encrypted=True)
    for base, key in keys.items():
        draft.leave(key, _why_left(base, server))
    return list(keys.values())


def _address(key: Key | None, draft: Draft, schemes: tuple[str, ...]) -> Url | None:
    """What a *.uri says."""
    if key is None or draft.settled(key):
        return None
    text = key.value.content.decode("utf-8", "replace").strip()
    try:
        return read_url(text, schemes)
    except ValueError as error:
        draft.leave(key, str(error))
        return None


def _without_path(url: Url) -> str:
    """Station asks at /router-info whatever path stands in tc.uri."""
    scheme, _, rest = str(url).partition("://")
    return f"{scheme}://{re.split('[/?]', rest, maxsplit=1)[0]}"


def _lns(draft: Draft, url: Url, value: tuple[str, str], key: Key) -> str:
    name = draft.new_lns(url.host)
    draft.values["lns", name, "type"] = "basics-station"
    draft.put(("lns", name, value[0]), value[1], key)
    if url.scheme == "ws" and url.host not in LOOPBACK_HOSTS and not url.host.startswith("127."):
        draft.values["lns", name, "insecure"] = True
        draft.notes.append(
            f"{key.file}: ws:// is not encrypted: everybody on the way can read and send; insecure = true"
        )
    return name


def _credentials(draft: Draft, name: str, set_: str, keys: Mapping[str, Key], *, encrypted: bool) -> None:
    """Trust, certificate and key or token: which there are says how Station logs in."""
    trust, certificate, key = (
        found if (found := keys.get(f"{set_}.{part}")) is not None and not draft.settled(found) else None
        for part in ("trust", "crt", "key")
    )
    if not encrypted:
        for one in (trust, certificate):
            draft.leave(one, "has no use with ws://")
        trust = certificate = None
    if trust is not None:
        draft.secret_file(trust, ("lns", name, "ca_file"), trust.value.path)
    if certificate is not None and key is not None:
        draft.secret_file(certificate, ("lns", name, "cert_file"), certificate.value.path)
        draft.secret_file(key, ("lns", name, "key_file"), key.value.path)
    elif certificate is not None:
        draft.leave(certificate, "is a certificate without its key")
    elif key is not None and _is_token(key.value.content):
        draft.secret_file(key, ("lns", name, "token_file"), key.value.path)
    else:
        draft.leave(key, "is neither a token (lines of `Name: value`) nor the key of a certificate that is there")


def _is_token(content: bytes) -> bool:
    lines = [line.strip() for line in content.strip().splitlines() if line.strip()]
    return b"-----BEGIN" not in content and all(
        re.fullmatch(rb"[A-Za-z0-9-]+:[ \t]*[\x21-\x7e].*", line) for line in lines
    )


def _same_credentials(files: Mapping[str, ForeignFile]) -> bool:
    sets = [
        [file.content if (file := files.get(f"{set_}.{part}")) else b"" for part in ("trust", "crt", "key")]
        for set_ in ("tc", "cups")
    ]
    return sets[0] == sets[1]


def _why_left(base: str, server: Url | None) -> str:
    set_ = base.partition(".")[0]
    if set_ == "cups" and server is not None:
        return "is of a configuration server with a login of its own; a table [lns.NAME] with cups is for it alone"
    return f"has no use without {set_}.uri"


# --- station.conf ----------------------------------------------------------------------------------------------------


def read_station(sheet: Sheet, draft: Draft) -> Hardware | None:
    """Take over what goes on; what is said of the concentrator comes back."""
    draft.gateway_eui(sheet.get(_STATION, "routerid"), id6)
    for key in sheet.under(_STATION):
        name = str(key.path[1])
        if draft.settled(key) or len(key.path) != 2 or name in {"device", "RADIODEV"}:
            continue
        if name in _LAW:
            if key.value is False:
                draft.take(key)
            else:
                draft.leave(key, "cannot be switched off: the law of the region is kept")
        elif name in _NOT_HERE:
            draft.leave(key, _NOT_HERE[name])
        elif name.isupper():
            draft.leave(key, "is about Station's own timing and buffers; this gateway has its own")
    return _concentrator(sheet)


def read_slave(sheet: Sheet, draft: Draft) -> None:
    """A second, third … concentrator of one Station."""
    for part in sheet.parts():
        draft.leave_branch(sheet, part, why="is of one of several concentrators; one gateway has one here")


def _concentrator(sheet: Sheet) -> Hardware | None:
    root = next((name for name in ROOTS if sheet.parts(name)), None)
    device = sheet.text(_STATION, "device") or sheet.text(_STATION, "RADIODEV")
    if root is None:
        return None if device is None else Hardware(sheet, None, "Station", others=[device])
    others = [key for name in ("device", "RADIODEV") if (key := sheet.get(_STATION, name))]
    path = sheet.text(root, "device") or device
    radios = {str(key.value).upper() for at in (0, 1) if (key := sheet.get(root, f"radio_{at}", "type"))}
    sx1302 = "1302" in root or "SX1250" in radios
    return Hardware(
        sheet,
        root,
        "Station",
        chip="sx1302" if sx1302 else "sx1301",
        usb=path is not None and (path.value.startswith("usb") or "ttyACM" in path.value),
        path=path,
        gain=sheet.get(root, "radio_0", "antenna_gain") or sheet.get(root, "radio_0", "txpow_adjust"),
        lut=gain_table(sheet, root),
        others=others,
    )


def id6(value: object) -> str:
    """An EUI as Station takes it: 16 hex digits, bytes between dashes or colons, or ID6 (`16:c001:f150:812`, `::1`)."""
    text = value.strip() if isinstance(value, str) else ""
    if not 2 <= text.count(":") <= 3:
        return plain_eui(text)
    head, gap, tail = text.partition("::")
    groups = [part.split(":") if part else [] for part in (head, tail)]
    missing = 4 - len(groups[0]) - len(groups[1])
    filled = groups[0] + ["0"] * missing + groups[1]
    if (missing < 1) if gap else missing:
        filled = []
    if len(filled) != 4 or not all(re.fullmatch(r"[0-9A-Fa-f]{1,4}", part) for part in filled):
        raise ValueError(f"is {shown(value)}, not an EUI such as 16:c001:f150:812 or 16 hex digits")
    return "".join(part.lower().zfill(4) for part in filled)
