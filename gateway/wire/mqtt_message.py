"""What an MQTT destination is given to publish, and what its readers ask for: the same few values for every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.model import DevEui

    Whom = DevEui | str
    """The device that is meant: its DevEUI, or its name where a format knows devices by that."""


@dataclass(frozen=True, slots=True)
class MqttMessage:
    """A message to be published at QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
    needed: bool = True  # False: it does not matter whether anybody is subscribed to it


def below(prefix: str, topic: str) -> str:
    """The topic under a prefix; an empty prefix leaves it as it is."""
    return f"{prefix}/{topic}" if prefix else topic
