"""MQTT destinations for tests: our own words unless others are given, to a broker of the given address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract_example import GATEWAY_EUI

from gateway.delivery.mqtt import MqttSink
from gateway.lines.mqtt import Broker
from gateway.wire.own_topics import OwnWords

if TYPE_CHECKING:
    from gateway.delivery.mqtt import Words

_OF_WORDS = ("topic_prefix", "privacy", "home_assistant")
_OF_SINK = ("need_subscriber", "ack_timeout_s", "now_us")


def mqtt_sink(url: str, words: Words | None = None, **options: Any) -> MqttSink:
    """`options` are those of our words, of the sink and of the broker."""
    of_words, of_sink = ({key: options.pop(key) for key in keys if key in options} for keys in (_OF_WORDS, _OF_SINK))
    broker = Broker(url, **{"client_id": f"{GATEWAY_EUI}-centre", **options})
    return MqttSink("centre", broker, words or OwnWords(GATEWAY_EUI, **of_words), **of_sink)
