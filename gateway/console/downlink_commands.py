"""`downlink …`: what devices are to be told, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.console.arguments import add_command, add_group, dev_eui
from gateway.console.codec_commands import json_object, payload
from gateway.console.settings_commands import load_settings
from gateway.console.terminal import emit, say, table
from gateway.errors import UsageError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from gateway.console.arguments import Commands

_SEND_HELP = """\
A device of class A hears nothing until it has sent something: the downlink waits for its next
uplink. One of class C is told at once. What becomes of it: lorawan-gateway downlink list.
"""


def register(commands: Commands) -> None:
    """Add the commands of this module."""
    group = add_group(commands, "downlink", "what devices are to be told")
    sending = add_command(group, "send", send, "queue a downlink for a device", more=_SEND_HELP, json=True)
    sending.add_argument("--dev-eui", metavar="E", type=dev_eui, required=True, help="for this device")
    sending.add_argument("--port", metavar="N", type=int, help="FPort, 1 to 223; with --data the codec may say it")
    what = sending.add_mutually_exclusive_group(required=True)
    what.add_argument("--hex", metavar="HEX", type=payload, help="these bytes")
    what.add_argument("--data", metavar="JSON", type=json_object, help="what the device's codec makes of this object")
    sending.add_argument("--confirmed", action="store_true", help="until the device acknowledges it")
    sending.add_argument("--ref", metavar="TEXT", help="name it; made up when left out")
    sending.add_argument(
        "--expires-after", metavar="SECONDS", type=float, help="not later than this; when left out it waits for ever"
    )
    listing = add_command(group, "list", list_, "print what waits, and what ended within a day", json=True)
    listing.add_argument("--dev-eui", metavar="E", type=dev_eui, help="for this device only")
    cancelling = add_command(group, "cancel", cancel, "cancel what has not left yet", json=True)
    which = cancelling.add_mutually_exclusive_group(required=True)
    which.add_argument("ref", metavar="REF", nargs="?", help="this one")
    which.add_argument("--dev-eui", metavar="E", type=dev_eui, help="all for this device")
    which.add_argument("--all", action="store_true", help="all")


def send(arguments: argparse.Namespace) -> int:
    """Queue a downlink."""
    if arguments.hex is not None and arguments.port is None:
        raise UsageError("--hex needs --port", hint="lorawan-gateway downlink send --help")
    asked = {
        "f_port": arguments.port,
        "payload": None if arguments.hex is None else arguments.hex.hex(),
        "data": arguments.data,
        "confirmed": arguments.confirmed,
        "ref": arguments.ref,
        "expires_after_s": arguments.expires_after,
    }
    facts = {key: value for key, value in asked.items() if value is not None}
    answer = _order(arguments, "downlink-send", {"dev_eui": str(arguments.dev_eui), "downlink": facts})
    if arguments.json:
        emit({"ref": answer["ref"], "state": answer["state"]})
    say(f"{answer['state']} as {answer['ref']}: {len(answer['payload']) // 2} bytes on port {answer['f_port']}")
    return 0


def list_(arguments: argparse.Namespace) -> int:
    """Print the queue."""
    found = _order(arguments, "downlink-list", _device(arguments))
    if arguments.json:
        emit(found)
        return 0
    if not found:
        say("nothing waits for a device, and nothing ended within a day")
        return 0
    for line in table(("REF", "DEVICE", "PORT", "PAYLOAD", "STATE", "WHY"), map(_cells, found), elastic=(3, 5)):
        print(line)
    return 0


def cancel(arguments: argparse.Namespace) -> int:
    """Cancel what has not left yet."""
    found = _order(arguments, "downlink-cancel", {"ref": arguments.ref, **_device(arguments)})
    if arguments.json:
        emit(found)
    say(f"{len(found)} downlink{'s'[: len(found) != 1]} cancelled")
    return 0


def _cells(entry: Mapping[str, Any]) -> tuple[str, ...]:
    kind = " confirmed" if entry["confirmed"] else ""
    return (
        entry["ref"], entry["dev_eui"], f"{entry['f_port']}{kind}", entry["payload"], entry["state"],
        entry["reason"] or "",
    )  # fmt: skip


def _device(arguments: argparse.Namespace) -> dict[str, str | None]:
    return {"dev_eui": None if arguments.dev_eui is None else str(arguments.dev_eui)}


def _order(arguments: argparse.Namespace, order: str, facts: Mapping[str, Any]) -> Any:
    from gateway.console.asking import ask

    return ask(load_settings(arguments), order, facts)
