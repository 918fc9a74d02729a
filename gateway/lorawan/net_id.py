"""NetIDs and the DevAddrs that belong to them: TS002-1.1.0 (LoRaWAN Backend Interfaces), chapter 13, table of NetIDs.

The three highest bits of a NetID are its type. A DevAddr starts with as many ones as its type and a zero, goes on with
the lowest bits of the NetID, and leaves the rest to the network. 000000 and 000001 are free for experiments.
"""

from __future__ import annotations

from gateway.model import DevAddr

NET_ID_MAX = 0xFF_FFFF

_NWK_ID_BITS = (6, 6, 9, 11, 12, 13, 15, 17)  # by type


def address_bits(net_id: int) -> int:
    """How many bits of a DevAddr this network numbers its devices with: 25 for type 0, down to 7 for type 7."""
    net_type = _type_of(net_id)
    return 32 - (net_type + 1) - _NWK_ID_BITS[net_type]


def dev_addr_in(net_id: int, number: int) -> DevAddr:
    """The DevAddr with this number in the network; ValueError when the network has no such number."""
    bits = address_bits(net_id)
    if not 0 <= number < 1 << bits:
        raise ValueError(f"NetID {net_id:06x} numbers its devices with {bits} bits, {number:#x} does not fit")
    net_type = _type_of(net_id)
    ones = (1 << net_type + 1) - 2
    nwk_id = net_id & (1 << _NWK_ID_BITS[net_type]) - 1
    return DevAddr((ones << _NWK_ID_BITS[net_type] | nwk_id) << bits | number)


def _type_of(net_id: int) -> int:
    if not 0 <= net_id <= NET_ID_MAX:
        raise ValueError(f"a NetID has 24 bits, {net_id:#x} does not fit")
    return net_id >> 21
