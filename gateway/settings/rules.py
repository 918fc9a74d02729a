"""What concerns more than one key: logins that lack a half, TLS keys without TLS, two parts on one port.

The rules read the raw tables, not the validated ones, so that they find their problems even while other keys are
still wrong: a person gets all problems in one go. A value that is no value of its kind has been reported elsewhere
and is passed over here.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.radio.boards import Overrides, has_receiver, problem_of
from gateway.regions import REGIONS
from gateway.settings.values import (
    ENCRYPTED_SCHEMES,
    LOOPBACK_HOSTS,
    Address,
    read_listen,
    read_secret,
    read_server,
    secret_path,
)
from gateway.wire.pseudonym import SHORTEST_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.settings.toml_file import KeyPath

    Found = Iterator[tuple[KeyPath, str]]
    Raw = Mapping[str, Any]

T = TypeVar("T")


def contradictions(raw: Raw) -> Found:
    """Key and sentence for all that does not go together."""
    yield from _position(_table(raw, "gateway"))
    yield from _chip(_table(raw, "radio"))
    yield from _board(_table(raw, "radio"), _table(raw, "gateway"))
    yield from _virtual(_table(raw, "radio"))
    yield from _block(raw)
    yield from _followed(raw)
    yield from _gps(_table(raw, "gps"), _table(raw, "radio"))
    yield from _ports(raw)
    yield from _channels(raw)
    for kind in ("lns", "sink"):
        for name, table in _tables(raw, kind):
            path = (kind, name)
            yield from _login(path, table)
            yield from _tls(path, table)
    for name, table in _tables(raw, "lns"):
        yield from _network_server(("lns", name), table, raw)
    for name, table in _tables(raw, "sink"):
        yield from _sink(("sink", name), table)
        yield from _commanded(("sink", name), table, raw)
    yield from _login(("commands",), _table(raw, "commands"))
    yield from _shared(
        raw, "mqtt", ("url", "client_id"), "a broker closes the connection of the first when both log in"
    )
    yield from _shared(raw, "file", ("path",), "their lines would mix")


def _position(gateway: Raw) -> Found:
    for one, other in (("latitude", "longitude"), ("longitude", "latitude")):
        if one in gateway and other not in gateway:
            yield ("gateway", one), f"stands without {other}"


def _channels(raw: Raw) -> Found:
    network, region = _table(raw, "network"), REGIONS.get(str(_table(raw, "gateway").get("region", "EU868")))
    rx2, extra = network.get("rx2_data_rate"), network.get("extra_channels")
    if region is not None and isinstance(rx2, int) and rx2 not in region.downlink_data_rates:
        yield (
            ("network", "rx2_data_rate"),
            f"is {rx2}; {region.name} has {', '.join(map(str, region.downlink_data_rates))}",
        )
    if region is None or not isinstance(extra, list) or not all(isinstance(hz, int) for hz in extra):
        return
    if extra and region.fixed_plan:
        yield ("network", "extra_channels"), f"have no place in {region.name}, whose channels are fixed"
        return
    try:
        region.cf_list(extra)
    except ValueError as problem:
        yield ("network", "extra_channels"), str(problem)


def _chip(radio: Raw) -> Found:
    if radio.get("type") not in {"libloragw", "sx1302"}:
        return
    if "spi" in radio and "usb" in radio:
        yield ("radio", "usb"), "and spi are both set; a chip hangs on one of them"
    if "board" not in radio:
        if "spi" not in radio and "usb" not in radio:
            yield ("radio", "board"), 'is missing, for example "rak2287"; or name spi or usb, and reset'
        elif "spi" in radio and "reset" not in radio:
            yield ("radio", "reset"), 'is missing, for example "pinctrl-bcm2711:17"; or name a board'


def _board(radio: Raw, gateway: Raw) -> Found:
    """What is wrong with the board of the table, or with what is said differently of it."""
    name, region = radio.get("board"), gateway.get("region", "EU868")
    bus = [key for key in ("spi", "usb") if key in radio]
    if radio.get("type") not in {"libloragw", "sx1302"} or region not in REGIONS or len(bus) > 1:
        return
    if not isinstance(name, str) and not bus:
        return
    told = {key: value for key, value in radio.items() if isinstance(value, str | float | int)}
    gains = radio.get("tx_gains")
    if isinstance(gains, list) and all(isinstance(gain, str) for gain in gains):
        told["tx_gains"] = " ".join(gains)
    try:
        found = problem_of(name, region, Overrides.of(told))
    except (TypeError, AttributeError):
        return  # values of another kind, which are reported elsewhere
    if found is not None:
        key, text = found
        yield ("radio", key if key in radio else "board" if "board" in radio else "type"), text


def _virtual(radio: Raw) -> Found:
    if radio.get("type") == "virtual" and radio.get("process") is True and radio.get("speed", 1) != 1:
        yield ("radio", "speed"), "has to be 1 in a process of its own, which goes with the clock on the wall"


def _block(raw: Raw) -> Found:
    radio, region = _table(raw, "radio"), REGIONS.get(str(_table(raw, "gateway").get("region", "EU868")))
    if region is None:
        return
    block, blocks = radio.get("block"), len(region.blocks)
    if region.fixed_plan and block is None and radio.get("type") in {"libloragw", "sx1302"}:
        yield (
            ("radio", "block"),
            f"is missing: of {region.name}, a chip hears one block of eight channels, for example 2",
        )
    elif region.fixed_plan and isinstance(block, int) and block > blocks:
        yield ("radio", "block"), f"is {block}; {region.name} has {blocks} blocks of eight channels"


def _followed(raw: Raw) -> Found:
    """Whether the radio can follow whom it is to follow."""
    radio, servers = _table(raw, "radio"), dict(_tables(raw, "lns"))
    name, path = radio.get("channels", "region"), ("radio", "channels")
    if not isinstance(name, str) or name == "region":
        return
    if name not in servers:
        known = ", ".join(f'"{one}"' for one in servers)
        yield path, f'is "{name}", which is no [lns.NAME] here; "region"{" or " + known if known else ""}'
    elif servers[name].get("type") == "semtech-udp":
        yield path, f'is "{name}", of type semtech-udp: such a server never says what is to be heard'
    elif radio.get("type") == "packet-forwarder":
        yield path, "cannot be followed: what is heard is in the configuration of the packet forwarder, not here"
    elif radio.get("type", "virtual") == "virtual" and radio.get("process") is not True:
        yield path, "can be followed by a simulated chip with process = true only"


def _gps(gps: Raw, radio: Raw) -> Found:
    device = gps.get("device")
    if "device" not in gps:
        yield from ((("gps", key), "stands without device") for key in ("baud", "protocol") if key in gps)
    elif isinstance(device, str) and device.startswith("gpsd://"):
        told = "gpsd speaks to the receiver; leave this out"
        yield from ((("gps", key), told) for key in ("baud", "protocol") if key in gps)
        port = device.removeprefix("gpsd://").rpartition("]")[2].partition(":")[2]
        if port.isdigit() and not 1 <= int(port) <= 65_535:
            yield ("gps", "device"), f'is "{device}"; a port is a number from 1 to 65535'
    elif device == "board":
        board = radio.get("board")
        if not isinstance(board, str):
            yield ("gps", "device"), 'is "board", and radio.board names none'
        elif not has_receiver(board):
            yield ("gps", "device"), f'is "board", and {board} has no receiver; name its device, "/dev/ttyUSB0"'


def _ports(raw: Raw) -> Found:
    radio, console, commands = (_listen(raw, table) for table in ("radio", "console", "commands"))
    if commands and console and commands.port == console.port != 0:
        yield ("commands", "listen"), f"has port {commands.port}, as console.listen has; give it another one"
    if radio and console and radio.port == console.port != 0:
        yield ("console", "listen"), f"has port {console.port}, as radio.listen has; give the console another one"


def _listen(raw: Raw, table: str) -> Address | None:
    return _attempt(read_listen, _table(raw, table).get("listen"))


def _login(path: KeyPath, table: Raw) -> Found:
    if "password_file" in table and "username" not in table:
        yield (*path, "password_file"), "stands without username"
    if "credentials_file" in table:
        for key in ("password_file", "token_file"):
            if key in table:
                yield (*path, key), "and credentials_file are both set; a login has one of them"
    if "token_file" in table and "password_file" in table:
        yield (*path, "token_file"), "and password_file are both set; a login has one of them"
    if "cert_file" in table and "key_file" not in table:
        yield (*path, "cert_file"), "stands without key_file"
    if "key_file" in table and "cert_file" not in table:
        yield (*path, "key_file"), "stands without cert_file"


def _tls(path: KeyPath, table: Raw) -> Found:
    url_key = next((key for key in ("url", "server") if isinstance(table.get(key), str)), None)
    if url_key is None or "cups" in table:
        return
    scheme, separator, _ = table[url_key].partition("://")
    encrypted = {"mqtt": "mqtts", "http": "https", "ws": "wss", "nats": "tls"}.get(scheme)
    if not separator or encrypted is None or scheme in ENCRYPTED_SCHEMES:
        return
    for key in ("ca_file", "cert_file", "key_file"):
        # History and login servers of the same sink may be the ones that need the certificate.
        others = (table.get("oauth_url"), table.get("history_url"))
        if key in table and not any(isinstance(other, str) and other.startswith("https:") for other in others):
            yield (*path, key), f"has no use with {scheme}://; write {encrypted}:// in {url_key}"


def _network_server(path: KeyPath, table: Raw, raw: Raw) -> Found:
    match table.get("type"):
        case "basics-station":
            if "server" not in table and "cups" not in table:
                yield (*path, "server"), 'is missing, for example "wss://lns.example.org:8887"; or name cups'
            yield from _plain_web_socket(path, table)
            if "token_file" in table and "key_file" in table:
                yield (*path, "token_file"), "and key_file are both set; a network server wants one of them"
        case "semtech-udp":
            listen, server = _listen(raw, "radio"), _attempt(read_server, table.get("server"))
            local = LOOPBACK_HOSTS | ({listen.host} if listen else set())
            if listen and server and server.port == listen.port and server.host in local:
                yield (*path, "server"), f"is our own radio.listen ({listen}): every frame would go round in a circle"


def _plain_web_socket(path: KeyPath, table: Raw) -> Found:
    server = table.get("server")
    if not isinstance(server, str) or not server.startswith("ws://") or table.get("insecure") is True:
        return
    host = re.sub(r":\d*$", "", server.removeprefix("ws://").partition("/")[0]).strip("[]")
    if host not in LOOPBACK_HOSTS and not host.startswith("127."):
        yield (*path, "server"), "is not encrypted; write wss://, or insecure = true when the way there is safe"


def _sink(path: KeyPath, table: Raw) -> Found:
    if table.get("copies") == "first" and table.get("type") != "ngsi-v2":
        hint = "a JetStream drops copies itself" if table.get("type") == "nats" else 'write "home"'
        yield (
            (*path, "copies"),
            f'is "first", which needs marks in an Orion: only a sink of type "ngsi-v2" has it; {hint}',
        )
    if "mark_for" in table and table.get("type") == "ngsi-v2" and table.get("copies") != "first":
        yield (*path, "mark_for"), 'has no use without copies = "first"'
    match table.get("type"):
        case "mqtt":
            yield from _application(path, table)
            yield from _others_words(path, table)
            yield from _home_assistant(path, table)
        case "ngsi-v2" | "ngsi-ld" if "oauth_url" in table:
            for key in ("client_id", "client_secret_file"):
                if key not in table:
                    yield (*path, key), "is missing: oauth_url needs it"


def _commanded(path: KeyPath, table: Raw, raw: Raw) -> Found:
    """What a destination needs that may ask for downlinks over HTTP."""
    through_door = (table.get("type") == "webhook" and table.get("commands") is True) or (
        table.get("type") in {"ngsi-v2", "ngsi-ld"} and table.get("commands") == "subscribe"
    )
    if through_door and "listen" not in _table(raw, "commands"):
        yield (*path, "commands"), 'needs a place to knock: [commands] with listen = "0.0.0.0:8090"'
    if through_door and table.get("type") != "webhook":
        for key in ("notify_url", "notify_token_file"):
            if key not in table:
                yield (*path, key), 'is missing: commands = "subscribe" needs it; "poll" does not'
    if table.get("type") == "webhook":
        if through_door and not {"hmac_file", "commands_hmac_file"} & table.keys():
            yield (*path, "commands_hmac_file"), "is missing: a command without signature could be anybody's"
        if through_door and "pseudonym_key_file" in table:
            yield (*path, "commands"), "and pseudonym_key_file are both set; who knows no device commands none"


def _application(path: KeyPath, table: Raw) -> Found:
    form, application = table.get("format"), table.get("application")
    if form in {"chirpstack", "ttn"} and application is None:
        what = "its UUID or name" if form == "chirpstack" else "its id"
        yield (*path, "application"), f'is missing: format "{form}" needs the application, {what}'
    if form == "ttn":
        for key in ("application", "tenant"):
            # The Things Stack: ids are 2 to 36 lower case letters, digits and single dashes.
            value = table.get(key)
            if isinstance(value, str) and not re.fullmatch(r"(?=.{2,36}$)[a-z0-9]+(?:-[a-z0-9]+)*", value):
                yield (*path, key), "is no id of The Things Stack: 2 to 36 lower case letters, digits and single dashes"


def _others_words(path: KeyPath, table: Raw) -> Found:
    """ChirpStack's and The Things Stack's words have a place for a codec's data and the payload, and need a time."""
    form, fields = table.get("format"), table.get("fields")
    if form not in {"chirpstack", "ttn"}:
        return
    if isinstance(fields, list) and fields:
        if not {"data", "payload"} & {*filter(_is_text, fields)}:
            yield (
                (*path, "fields"),
                f'leave nothing of what a device said in format "{form}": it has "data" and "payload"',
            )
        if "time" not in fields:
            yield (*path, "fields"), f'leave out "time", which every message of format "{form}" carries'
        return
    for key in ("pseudonym_key_file", "position_decimals"):
        if key in table:
            why = f'keeps back "data" and "payload", and format "{form}" has nothing else of what a device said'
            yield (*path, key), f'{why}: name them in fields, or write format = "gateway"'


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _home_assistant(path: KeyPath, table: Raw) -> Found:
    if table.get("home_assistant") is None:
        return
    if table.get("format", "gateway") != "gateway":
        yield (*path, "home_assistant"), 'reads our own messages: it goes with format "gateway"'
    fields = table.get("fields")
    if isinstance(fields, list) and fields and "measurements" not in fields:
        yield (*path, "fields"), 'leave nothing for Home Assistant to read: it needs "measurements"'


def _shared(raw: Raw, type_: str, keys: tuple[str, ...], why: str) -> Found:
    first: dict[tuple[str, ...], str] = {}
    for name, table in _tables(raw, "sink"):
        values = tuple(value for key in keys if isinstance(value := table.get(key), str))
        if table.get("type") != type_ or len(values) != len(keys):
            continue
        if values in first:
            yield ("sink", name, keys[-1]), f"is that of sink.{first[values]} too: {why}"
        else:
            first[values] = name


# --- files beside the settings --------------------------------------------------------------------------------------


def secret_files(raw: Raw) -> Iterator[tuple[KeyPath, str, bool]]:
    """What is wrong (True) or worth knowing (False) about the files that hold secrets."""
    for kind in ("lns", "sink"):
        for name, table in _tables(raw, kind):
            for key, value in table.items():
                secret = _attempt(read_secret, value) if key.endswith("_file") else None
                if secret is None:
                    continue
                if secret.is_credential and not os.environ.get("CREDENTIALS_DIRECTORY"):
                    yield (
                        (kind, name, key),
                        "is handed over by systemd at the start of the service: not looked at",
                        False,
                    )
                    continue
                yield from (((kind, name, key), text, bad) for text, bad in _secret_file(key, secret_path(secret)))


def _secret_file(key: str, path: os.PathLike[str]) -> Iterator[tuple[str, bool]]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - one look: it opens and has something in it
            content = file.read(SHORTEST_KEY + 2)
            if not content:
                yield f"names {path}, which is empty", True
            elif key == "pseudonym_key_file" and len(content.strip()) < SHORTEST_KEY:
                yield f"names {path}, which has less than {SHORTEST_KEY} bytes: head -c 32 /dev/urandom > {path}", True
            elif key not in {"ca_file", "cert_file"} and os.fstat(file.fileno()).st_mode & 0o004:
                yield f"names {path}, which everybody on this machine may read: chmod o-r {path}", False
    except PermissionError:
        yield f"names {path}, which you may not read: run check as the gateway's user, or give that one the file", True
    except OSError as error:
        yield f"names {path}, which cannot be read: {error.strerror}", True


# --- reading raw tables ---------------------------------------------------------------------------------------------


def _table(raw: Raw, key: str) -> Raw:
    value = raw.get(key)
    return value if isinstance(value, dict) else {}


def _tables(raw: Raw, kind: str) -> Iterator[tuple[str, Raw]]:
    for name, table in _table(raw, kind).items():
        if isinstance(table, dict):
            yield name, table


def _attempt(read: Callable[[object], T], value: object) -> T | None:
    """The value, or None where it is missing or wrong, which its own key reports."""
    try:
        return None if value is None else read(value)
    except ValueError:
        return None
