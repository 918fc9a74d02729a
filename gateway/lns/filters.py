"""Which frames are for a network server: by the address they carry, or the join server they ask."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.lorawan.frame import DataFrame, Direction, JoinRequest, PhyPayload, RejoinRequest
from gateway.lorawan.net_id import address_bits, dev_addr_in


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Numbers from `first` to `last`, both of them included: DevAddrs, or JoinEUIs as big endian numbers."""

    first: int
    last: int

    def covers(self, number: int) -> bool:
        """Whether a number lies in it."""
        return self.first <= number <= self.last

    def meets(self, other: NumberRange) -> bool:
        """Whether both have a number in common."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class Filter:
    """What a network server wants of what is heard. An empty list is no wish: everything of that kind is for it."""

    dev_addrs: tuple[NumberRange, ...] = ()
    join_euis: tuple[NumberRange, ...] = ()
    own_devices: bool = False  # whether frames of devices that this gateway serves itself are for it, too

    def takes(self, message: PhyPayload | None, *, own: bool) -> bool:
        """Whether a frame is for it. `message` is what the frame says, None when that is no LoRaWAN.

        Who names addresses or join servers wants nothing that carries neither, such as other gateways' downlinks. A
        rejoin request of type 0 or 2 has no JoinEUI but a NetID: it is for whom some address of that network is for.
        """
        if own and not self.own_devices:
            return False
        match message:
            case DataFrame(dev_addr=dev_addr) if message.direction is Direction.UP:
                return not self.dev_addrs or any(wanted.covers(dev_addr) for wanted in self.dev_addrs)
            case JoinRequest(join_eui=join_eui) | RejoinRequest(join_eui=join_eui) if join_eui is not None:
                number = int.from_bytes(join_eui, "big")
                return not self.join_euis or any(wanted.covers(number) for wanted in self.join_euis)
            case RejoinRequest(net_id=net_id) if net_id is not None:
                return not self.dev_addrs or any(wanted.meets(_addresses_of(net_id)) for wanted in self.dev_addrs)
            case _:
                return not self.dev_addrs and not self.join_euis


def _addresses_of(net_id: int) -> NumberRange:
    first = dev_addr_in(net_id, 0)
    return NumberRange(first, first + (1 << address_bits(net_id)) - 1)
