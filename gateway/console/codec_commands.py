"""`codec …`: what the catalogue has, and codecs run by hand."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, add_group, assignment, dev_eui
from gateway.console.settings_commands import load_settings_if_any
from gateway.console.terminal import clean, emit, say, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.console.arguments import Commands, Parser
    from gateway.decoding.catalogue import Catalogue
    from gateway.settings import Settings


_ADD_HELP = """\
PATH is of a copy of The Things Network's device repository (vendor/VENDOR, or DEVICE.yaml or
CODEC.yaml in it) or of ChirpStack's device profiles (vendors/VENDOR, or devices/DEVICE.toml in
it). The maker's script is copied unchanged, its published examples become tests. Which of its
values are quantities is then for you to say: see device.toml.
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "codec", "what payloads mean")
    add_command(group, "list", list_, "print every codec of the catalogue", json=True)
    showing = add_command(group, "show", show, "print one codec: firmware versions, variables, examples", json=True)
    showing.add_argument("name", metavar="NAME", help="VENDOR/DEVICE")
    testing = add_command(group, "test", test, "run each example beside its codec; 1 when one fails", json=True)
    testing.add_argument("names", metavar="NAME", nargs="*", help="all when left out")
    decoding = add_command(group, "decode", decode, "run a codec over a payload; 1 when it has errors", json=True)
    _codec(decoding)
    decoding.add_argument("--port", metavar="N", type=f_port, required=True, help="FPort of the frame")
    decoding.add_argument("--hex", metavar="HEX", type=payload, required=True, help='payload; "" is legal')
    decoding.add_argument("--recv-time", metavar="T", help="when it was received, RFC 3339")
    decoding.add_argument("--dev-eui", metavar="E", type=dev_eui, help="the device, for codecs that ask for it")
    decoding.add_argument("--downlink", action="store_true", help="read it as sent to the device (decodeDownlink)")
    encoding = add_command(group, "encode", encode, "make a downlink payload; 1 when it has errors", json=True)
    _codec(encoding)
    what = encoding.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", metavar="JSON", type=json_object, help="the command, as an object")
    what.add_argument("--input", metavar="JSON", type=json_object, help="the encoder's whole input: data, fPort, …")
    encoding.add_argument("--port", metavar="N", type=f_port, help="FPort that is wished for")
    adding = add_command(group, "add", add, "take a device over from another catalogue", more=_ADD_HELP, json=True)
    adding.add_argument("source", metavar="PATH", type=Path, help="the device's .yaml or .toml, or its vendor's folder")
    adding.add_argument("--device", metavar="NAME", help="which device of the folder")
    adding.add_argument("--name", metavar="VENDOR/DEVICE", help="what it is called here; by default as there")
    adding.add_argument("--kind", metavar="WORD", default="sensor", help="what it is for (default: sensor)")
    adding.add_argument("--into", metavar="DIR", type=Path, help="folder of codecs (default: the first of codecs.path)")


def _codec(parser: Parser) -> None:
    parser.add_argument("codec", metavar="NAME|FILE", help="VENDOR/DEVICE of the catalogue, or a .js or .py file")
    parser.add_argument(
        "--var", metavar="NAME=VALUE", action="append", type=assignment, default=[], help="a variable of the device"
    )


# --- arguments ------------------------------------------------------------------------------------------------------


def f_port(text: str) -> int:
    """An FPort on the command line."""
    if not (text.isascii() and text.isdigit() and int(text[:4]) <= 255):
        raise argparse.ArgumentTypeError(f"{text!r} is no FPort, 0 to 255")
    return int(text)


def payload(text: str) -> bytes:
    """Hex digits on the command line, also with blanks or colons between them."""
    try:
        return bytes.fromhex(text.replace(":", " ").replace("-", " ").removeprefix("0x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not written in pairs of hex digits") from None


def json_object(text: str) -> dict[str, Any]:
    """A JSON object on the command line."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is JSON, but no object")
    return value


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number")


# --- commands -------------------------------------------------------------------------------------------------------


def list_(arguments: argparse.Namespace) -> int:
    """Print every codec."""
    from gateway.decoding import workbench

    found = workbench.list_codecs(_catalogue(arguments))
    if arguments.json:
        emit(found)
        return 0
    rows = [(codec["name"], codec["kind"], ", ".join(codec["languages"]), _count(codec["examples"])) for codec in found]
    for line in table(("CODEC", "KIND", "LANGUAGES", "EXAMPLES"), rows, elastic=(0, 1)):
        print(line)
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print one codec."""
    from gateway.decoding import workbench

    facts = workbench.show(_catalogue(arguments), arguments.name)
    if arguments.json:
        emit(facts)
        return 0
    for key, value in facts.items():
        rows = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
        if rows:
            print(key)
        for row in rows:
            print(clean("  " + "  ".join(_in_words(part) for part in row.values() if part)))
        if value and not rows:
            print(clean(f"{key:12} {_in_words(value)}"))
    return 0


def test(arguments: argparse.Namespace) -> int:
    """Run examples."""
    from gateway.decoding import workbench

    found = workbench.test(_catalogue(arguments), arguments.names)
    if arguments.json:
        emit(found)
    else:
        for result in found["results"]:
            if not result["ok"]:
                print(f"failed  {clean(result['codec'])}  {clean(result['example'])}: {clean(result['problem'])}")
        print(f"{found['passed']} passed, {found['failed']} failed")
    return 1 if found["failed"] else 0


def decode(arguments: argparse.Namespace) -> int:
    """Run a codec over a payload."""
    from gateway.decoding import workbench

    found = workbench.decode(
        _catalogue(arguments),
        arguments.codec,
        payload=arguments.hex,
        f_port=arguments.port,
        variables=dict(arguments.var),
        recv_time=arguments.recv_time,
        dev_eui=None if arguments.dev_eui is None else str(arguments.dev_eui),
        downlink=arguments.downlink,
        tell=_tell,
    )
    if arguments.json:
        emit(found)
    else:
        _print_decoded(found)
    return 1 if found["errors"] else 0


def encode(arguments: argparse.Namespace) -> int:
    """Make a downlink payload."""
    from gateway.decoding import workbench

    found = workbench.encode(
        _catalogue(arguments),
        arguments.codec,
        arguments.data if arguments.input is None else arguments.input,
        f_port=arguments.port,
        variables=dict(arguments.var),
        whole=arguments.input is not None,
        tell=_tell,
    )
    if arguments.json:
        emit(found)
    else:
        if not found["errors"]:
            print(f"port {found['f_port']}  {found['hex']}")
        _print_remarks(found)
    return 1 if found["errors"] else 0


def add(arguments: argparse.Namespace) -> int:
    """Take a device over from another catalogue."""
    from gateway.decoding import adding

    folders = load_settings_if_any(arguments).codecs.path
    into = arguments.into or (folders[0] if folders else None)
    if into is None:
        raise UsageError("no folder is set for codecs of this site", hint="set codecs.path, or give --into DIR")
    made = adding.add(arguments.source, into, device=arguments.device, name=arguments.name, kind=arguments.kind)
    for skipped in made["skipped"]:
        say(f"note: {clean(skipped)}")
    if arguments.json:
        emit(made)
        return 0
    print(clean(f"{made['name']} is in {made['folder']}, with {made['examples']} examples"))
    say(f"run them: lorawan-gateway codec test {made['name']}")
    say("say which of its values are quantities: [measurements] in its device.toml")
    return 0


def _tell(line: str) -> None:
    say(f"console: {clean(line)}")


# --- output ---------------------------------------------------------------------------------------------------------


def _print_decoded(found: Mapping[str, Any]) -> None:
    for measurement in found["measurements"]:
        value = measurement["value"]
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
        when = f"  at {measurement['time']}" if measurement.get("time") else ""
        print(clean(f"{measurement['quantity']:24} {text} {measurement['unit']}{when}").rstrip())
    if found["data"] is not None:
        print(clean(f"data {json.dumps(found['data'], ensure_ascii=False)}"))
    _print_remarks(found)


def _print_remarks(found: Mapping[str, Any]) -> None:
    for kind in ("warnings", "errors"):
        for remark in found[kind]:
            say(f"{kind[:-1]}: {clean(remark)}")


def _in_words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _count(examples: object) -> object:
    return len(examples) if isinstance(examples, list) else examples


# --- the catalogue --------------------------------------------------------------------------------------------------


def load_catalogue(settings: Settings) -> Catalogue:
    """The codecs of the site's folders, of installed packages and the shipped ones; a site's own win."""
    from gateway.decoding.catalogue import Catalogue

    return Catalogue.of_site(settings.codecs.path)


def _catalogue(arguments: argparse.Namespace) -> Catalogue:
    catalogue = load_catalogue(load_settings_if_any(arguments))
    for problem in catalogue.problems:
        say(f"note: {problem}")
    if not catalogue.entries:
        raise UsageError("the catalogue is empty", hint="set codecs.path to a folder of codecs")
    return catalogue
