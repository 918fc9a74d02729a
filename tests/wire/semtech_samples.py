"""What the tests of Semtech's UDP protocol share: one exchange in bytes, and packets with a key changed.

Where the vectors of these tests come from:
- PROTOCOL.md: github.com/Lora-net/sx1302_hal 2.1.0, packet_forwarder/PROTOCOL.md
- Gateway Bridge: github.com/chirpstack/chirpstack-gateway-bridge 4.1, internal/backend/semtechudp/packets/*_test.go
- The Things Stack: github.com/TheThingsNetwork/lorawan-stack v3, pkg/ttnpb/udp/*_test.go
"""

from __future__ import annotations

import json

from gateway.model import GatewayEui, RadioFrame, Stamp, TimeQuality
from gateway.wire.semtech_udp import read_push

HEARD = Stamp(
    utc_us=1_700_000_000_000_000, quality=TimeQuality.UNSYNCED, uncertainty_ms=None, boot_id="b", monotonic_us=77
)
EUI = GatewayEui.parse("0016c001f1500812")

# The worked example of one exchange: EUI 0016c001f1500812, uplink at 3512348611 us, answer one second later.
RXPK = (
    b'{"rxpk":[{"tmst":3512348611,"time":"2026-11-23T10:00:00.123456Z","tmms":1479463218123,"chan":2,"rfch":1,'
    b'"freq":868.1,"stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/5","rssi":-87,"lsnr":9.5,"size":15,'
    b'"data":"QAQDAgGAAQAKobLD1OX2"}]}'
)
TXPK = (
    b'{"txpk":{"imme":false,"tmst":3513348611,"freq":868.1,"rfch":0,"powe":14,"modu":"LORA","datr":"SF7BW125",'
    b'"codr":"4/5","ipol":true,"ncrc":true,"size":9,"data":"YAQDAgGAAAAK"}}'
)
UPLINK = bytes.fromhex("400403020180" + "01000aa1b2c3d4e5f6")
DOWNLINK = bytes.fromhex("600403020180" + "00000a")


def packet(**changes: object) -> dict[str, object]:
    """A readable rxpk with some keys changed; `...` takes a key away."""
    base: dict[str, object] = {
        "tmst": 3512348611,
        "chan": 2,
        "rfch": 1,
        "freq": 868.1,
        "stat": 1,
        "modu": "LORA",
        "datr": "SF7BW125",
        "codr": "4/5",
        "rssi": -87,
        "lsnr": 9.5,
        "size": 15,
        "data": "QAQDAgGAAQAKobLD1OX2",
    }
    return {key: value for key, value in (base | changes).items() if value is not ...}


def body(*packets: object) -> bytes:
    return json.dumps({"rxpk": packets}).encode()


def read(*packets: object):
    return read_push(body(*packets), "rx", HEARD)


def only(content) -> RadioFrame:
    assert list(content.faults) == []
    assert len(content.frames) == 1
    return content.frames[0]


def txpk(**changes: object) -> bytes:
    base = json.loads(TXPK)["txpk"] | changes
    return json.dumps({"txpk": {key: value for key, value in base.items() if value is not ...}}).encode()
