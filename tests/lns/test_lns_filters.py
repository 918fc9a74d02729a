"""Which frames are for a network server. Frames are built field by field as TS001-1.0.4, chapter 4, lays them out."""

from __future__ import annotations

import pytest

from gateway.lns.filters import Filter, NumberRange
from gateway.lorawan.frame import parse

# lora-packet 0.9.3, README.md, "Decoding packets": DevAddr 49be7df1.
DATA_UP = bytes.fromhex("40F17DBE4900020001954378762B11FF0D")
# lora-packet 0.9.3, test "should parse join request": AppEUI 70b3d57ed00000dc, DevEUI 00afee7cf5ed6f1e.
JOIN = bytes.fromhex("00DC0000D07ED5B3701E6FEDF57CEEAF0085CC587FE913")
DATA_DOWN = b"\x60" + DATA_UP[1:]
PROPRIETARY = bytes.fromhex("e0112233")
REJOIN_0 = bytes.fromhex("c0001300000807060504030201010000000000")  # NetID 000013
REJOIN_1 = bytes.fromhex("c001dc0000d07ed5b3700807060504030201010000000000")

THIS_ADDRESS = Filter(dev_addrs=(NumberRange(0x49BE7DF1, 0x49BE7DF1),))
OTHER_ADDRESSES = Filter(dev_addrs=(NumberRange(0x49BE7DF2, 0xFFFFFFFF), NumberRange(0, 0x49BE7DF0)))
THIS_SERVER = Filter(join_euis=(NumberRange(0x70B3D57ED0000000, 0x70B3D57ED0FFFFFF),))
OTHER_SERVERS = Filter(join_euis=(NumberRange(0, 0x70B3D57ED00000DB), NumberRange(0x70B3D57ED00000DD, 1 << 63)))
# TS002-1.1.0, chapter 13: NetID 000013 has the addresses 26000000 to 27ffffff, The Things Network's.
ITS_NETWORK = Filter(dev_addrs=(NumberRange(0x26000000, 0x27FFFFFF),))
A_PART_OF_ITS_NETWORK = Filter(dev_addrs=(NumberRange(0x27FFFF00, 0x27FFFFFF),))
NEXT_NETWORK = Filter(dev_addrs=(NumberRange(0x28000000, 0x29FFFFFF),))


@pytest.mark.parametrize(
    ("phy", "wishes", "taken"),
    [
        (DATA_UP, Filter(), True),
        (DATA_UP, THIS_ADDRESS, True),
        (DATA_UP, OTHER_ADDRESSES, False),
        (DATA_UP, OTHER_SERVERS, True),
        (JOIN, Filter(), True),
        (JOIN, THIS_SERVER, True),
        (JOIN, OTHER_SERVERS, False),
        (JOIN, OTHER_ADDRESSES, True),
        (REJOIN_1, THIS_SERVER, True),
        (REJOIN_1, OTHER_SERVERS, False),
        (REJOIN_0, OTHER_SERVERS, True),
        (REJOIN_0, ITS_NETWORK, True),
        (REJOIN_0, A_PART_OF_ITS_NETWORK, True),
        (REJOIN_0, NEXT_NETWORK, False),
        (PROPRIETARY, Filter(), True),
        (PROPRIETARY, THIS_ADDRESS, False),
        (PROPRIETARY, THIS_SERVER, False),
        (DATA_DOWN, Filter(), True),
        (DATA_DOWN, THIS_ADDRESS, False),
    ],
)
def test_a_server_gets_what_it_asked_for(phy, wishes, taken):
    assert wishes.takes(parse(phy), own=False) is taken


def test_what_is_no_lorawan_goes_to_who_wants_everything():
    assert Filter().takes(None, own=False)
    assert not THIS_ADDRESS.takes(None, own=False)


def test_frames_of_our_own_devices_go_to_nobody_who_did_not_ask_for_them():
    message = parse(DATA_UP)
    assert not Filter().takes(message, own=True)
    assert Filter(own_devices=True).takes(message, own=True)
    assert not Filter(OTHER_ADDRESSES.dev_addrs, own_devices=True).takes(message, own=True)
