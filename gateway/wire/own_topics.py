"""Our own words to an MQTT broker (contract, section 4): readings, what the gateway says of itself, requests.

PREFIX/{gateway_eui}/status                 retained; "offline" is the last will
PREFIX/{gateway_eui}/{dev_eui}/up           a reading
PREFIX/{gateway_eui}/{dev_eui}/join, /down/result, PREFIX/{gateway_eui}/balance
PREFIX/{gateway_eui}/{dev_eui}/down         what is asked of us
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.model import DevEui, Removed
from gateway.wire.mqtt_message import MqttMessage
from gateway.wire.own_downlink import NoDownlink
from gateway.wire.own_json import json_bytes
from gateway.wire.privacy import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import GatewayEui, Happening, Record
    from gateway.wire.home_assistant import HomeAssistant
    from gateway.wire.mqtt_message import Whom
    from gateway.wire.privacy import Privacy

_OFFLINE: Final = b'{"state":"offline"}'
_STATUS: Final = "status"


class OwnWords:
    """Readings in our own JSON; see `gateway.delivery.mqtt.Words`."""

    def __init__(
        self,
        gateway_eui: GatewayEui,
        topic_prefix: str = "lorawan",
        *,
        privacy: Privacy = EVERYTHING,
        home_assistant: HomeAssistant | None = None,
    ) -> None:
        """ValueError for a prefix that is no topic."""
        if any(character in topic_prefix for character in "+#\0") or not topic_prefix.strip("/"):
            raise ValueError(f"topic_prefix {topic_prefix!r} must be a topic without + and #")
        self._gateway_eui = gateway_eui
        self._start = f"{topic_prefix}/{gateway_eui}/"
        self._privacy = privacy
        self._home_assistant = home_assistant
        self.will: MqttMessage | None = MqttMessage(self._start + _STATUS, _OFFLINE, retain=True, needed=False)
        # A pseudonym leads nobody to a device, us neither.
        self.asking: tuple[str, ...] = () if privacy.hides_devices else (f"{self._start}+/down",)

    def greeting(self) -> Sequence[MqttMessage]:
        """That the gateway is online."""
        if self._home_assistant is not None:
            self._home_assistant.begin_anew()
        message = self.of_gateway(_STATUS, {"gateway_eui": str(self._gateway_eui)})
        return () if message is None else (message,)

    def of_record(self, record: Record) -> Sequence[MqttMessage]:
        """The reading; before it, what Home Assistant has to know of it, where it has not been told yet."""
        privacy = self._privacy
        up = MqttMessage(f"{self._start}{privacy.dev_eui(record.reading)}/up", privacy.reading_bytes(record))
        if self._home_assistant is None:
            return (up,)
        return (*self._home_assistant.of_reading(privacy.narrowed(record.reading)), up)

    def of_gateway(self, topic: str, facts: Mapping[str, Any]) -> MqttMessage | None:
        """Facts of the gateway, or of what happened to a device: they come in our own words already."""
        leaving = self._privacy.facts(topic, facts)
        if leaving is None:
            return None
        if topic == _STATUS:
            leaving = {"state": "online", **leaving}
        return MqttMessage(self._start + topic, json_bytes(leaving), retain=topic == _STATUS, needed=False)

    def of_happening(self, happening: Happening) -> Sequence[MqttMessage]:
        """What Home Assistant has to forget with a device; the rest is told as facts."""
        if isinstance(happening, Removed) and self._home_assistant is not None:
            return self._home_assistant.forget(self._privacy.known_as(happening.dev_eui))
        return ()

    def requests(
        self,
        topic: str,
        payload: bytes,
        now_us: int,  # noqa: ARG002 - a Words
        fresh: Callable[[], str],  # noqa: ARG002
    ) -> Sequence[tuple[Whom, bytes]]:
        """The request, which is in our own JSON already; NoDownlink when the topic names no device."""
        try:
            return ((DevEui.parse(topic.split("/")[-2]), payload),)
        except ValueError as error:
            raise NoDownlink(f"a downlink for nobody: {error}") from None
