"""What this version can run, of all that a settings file may name.

`check` and `run` refuse the rest, with the key that asks for it, instead of starting something that stays silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.settings.models import Settings
    from gateway.settings.toml_file import KeyPath

AVAILABLE: Mapping[str, tuple[str, ...]] = {
    "radio.type": ("virtual", "packet-forwarder", "libloragw"),
    "lns.type": ("semtech-udp", "basics-station", "chirpstack-mqtt"),
    "sink.type": ("mqtt", "webhook", "nats", "file", "ngsi-v2", "ngsi-ld"),
    "sink.mqtt.format": ("gateway", "chirpstack", "ttn"),
}


def unavailable(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """What the settings ask for and this version does not have: key and sentence."""
    yield from _absent("radio.type", settings.radio.type, ("radio", "type"))
    for name, lns in settings.lns.items():
        yield from _absent("lns.type", lns.type, ("lns", name, "type"))
    for name, sink in settings.sink.items():
        yield from _absent("sink.type", sink.type, ("sink", name, "type"))
        if sink.type == "mqtt":
            yield from _absent("sink.mqtt.format", sink.format, ("sink", name, "format"))


def _absent(choice: str, value: str, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    here = AVAILABLE[choice]
    if value not in here:
        offer = f"available: {', '.join(here)}" if here else "leave this table out until then"
        yield path, f'"{value}" comes with a later version of the gateway; {offer}'
