"""Messages of Basics Station and its servers that were not made here. Each name says where it is from.

LORA_SELFTEST: lorabasics/basicstation 2.0.6, src/selftest_lora.c: what its own parser makes of these frames.
BRIDGE_*: chirpstack-gateway-bridge, internal/backend/basicstation/structs/*_test.go: the frame it builds of a message.
TTS_*: lorawan-stack, pkg/gatewayserver/io/semtechws/lbslns/*_test.go, pkg/basicstation/cups/*_test.go.
STATION: a Station 2.0.6 with its simulated radio, running against a server on a desk.
"""

from __future__ import annotations

EU868_DRS = [[sf, 125, 0] for sf in range(12, 6, -1)] + [[7, 250, 0], [0, 0, 0]] + [[-1, 0, 0]] * 8
US915_DRS = [
    [10, 125, 0], [9, 125, 0], [8, 125, 0], [7, 125, 0], [8, 500, 0], [-1, 0, 0], [-1, 0, 0], [-1, 0, 0],
    [12, 500, 1], [11, 500, 1], [10, 500, 1], [9, 500, 1], [8, 500, 0], [7, 500, 1], [-1, 0, 0], [-1, 0, 0],
]  # fmt: skip

# phy, the fields as text
LORA_SELFTEST = [
    (b"\xe0" + b"_" * 15, '"msgtype":"propdf","FRMPayload":"E05F5F5F5F5F5F5F5F5F5F5F5F5F5F5F"'),
    (
        bytes.fromhex("000123456789ABCDEFF1E3F5E7F9EBFDEFF0F1A0A1A2A3"),
        (
            '"msgtype":"jreq","MHdr":0,"JoinEui":"EF-CD-AB-89-67-45-23-01","DevEui":"EF-FD-EB-F9-E7-F5-E3-F1",'
            '"DevNonce":61936,"MIC":-1549622880'
        ),
    ),
    (
        bytes.fromhex("40ABCDEFFF01F3F4FF202122A0A1A2A3"),
        (
            '"msgtype":"updf","MHdr":64,"DevAddr":-1061461,"FCtrl":1,"FCnt":62707,"FOpts":"FF","FPort":32,'
            '"FRMPayload":"2122","MIC":-1549622880'
        ),
    ),
]
LORA_SELFTEST_JOIN_EUI = 0xEFCDAB8967452301
LORA_SELFTEST_REFUSED = [
    b"\x00",
    b"\x03" + b"_" * 15,  # Major 3
    LORA_SELFTEST[1][0][:22],
    LORA_SELFTEST[2][0][:12],  # one byte of FOpts announced, and cut off
]

# phy, fields
BRIDGE_UPLINKS = [
    (
        "40f6ffffff80900101 02ecffffff",  # announces no FOpts, so its two are port and payload
        {"MHdr": 0x40, "DevAddr": -10, "FCtrl": 0x80, "FCnt": 400, "MIC": -20},
    ),
    (
        "0008070605040302020807060504030203 1400f6ffffff",
        {
            "MHdr": 0,
            "JoinEui": "02-02-03-04-05-06-07-08",
            "DevEui": "03-02-03-04-05-06-07-08",
            "DevNonce": 20,
            "MIC": -10,
        },
    ),
    ("e1020304", {"FRMPayload": "E1020304"}),
]

BRIDGE_ID6 = [
    ("::0", "0000000000000000"),
    ("1::", "0001000000000000"),
    ("::a:b", "00000000000a000b"),
    ("f::1", "000f000000000001"),
    ("f:a123:f8:100", "000fa12300f80100"),
    ("01-02-03-04-05-06-07-08", "0102030405060708"),
]

_SWITCHED = [{"enable": True, "radio": 0, "if": hz} for hz in (-400_000, -200_000, 0, 200_000, 400_000)]
BRIDGE_CONFIG = {
    "msgtype": "router_config",
    "NetID": [66051],
    "JoinEui": [[0, 72623859790382856]],
    "region": "EU863",
    "hwspec": "sx1301/1",
    "freq_range": [863_000_000, 870_000_000],
    "DRs": EU868_DRS,
    "sx1301_conf": [
        {
            "radio_0": {"enable": True, "freq": 867_500_000},
            "radio_1": {"enable": True, "freq": 868_500_000},
            "chan_FSK": {"enable": True},
            "chan_Lora_std": {
                "enable": True, "radio": 1, "if": -200_000, "bandwidth": 250_000, "spread_factor": 7,
            },
            **{f"chan_multiSF_{n}": _SWITCHED[n] for n in range(5)},
            "chan_multiSF_5": {"enable": True, "radio": 1, "if": -400_000},
            "chan_multiSF_6": {"enable": True, "radio": 1, "if": -200_000},
            "chan_multiSF_7": {"enable": True, "radio": 1, "if": 0},
        }
    ],
}  # fmt: skip
BRIDGE_CHANNELS_HZ = [867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000, 868_100_000, 868_300_000,
                      868_300_000, 868_500_000]  # fmt: skip

_BRIDGE = {"msgtype": "dnmsg", "DevEui": "01-01-01-01-01-01-01-01", "diid": 1234, "priority": 1, "pdu": "01020304",
           "rctx": 3, "xtime": 4}  # fmt: skip
BRIDGE_DNMSG_A = _BRIDGE | {
    "dC": 0,
    "RxDelay": 1,
    "RX1DR": 2,
    "RX1Freq": 868_100_000,
    "RX2DR": 1,
    "RX2Freq": 868_200_000,
}
BRIDGE_DNMSG_FSK = _BRIDGE | {"dC": 0, "RxDelay": 1, "RX1DR": 7, "RX1Freq": 868_100_000}
BRIDGE_DNMSG_B = _BRIDGE | {"dC": 1, "DR": 2, "Freq": 868_100_000, "gpstime": 1_000_000}
BRIDGE_DNMSG_C = _BRIDGE | {"dC": 2, "RX2DR": 2, "RX2Freq": 868_100_000}

TTS_DNMSG_A = {
    "msgtype": "dnmsg",
    "DevEui": "00-00-00-00-00-00-00-01",
    "dC": 0,
    "diid": 1,
    "pdu": "596d7868616d74686332356b4a334d3d3d",
    "rctx": 2,
    "priority": 25,
    "MuxTime": 1554300787.123456,
    "RxDelay": 1,
    "RX1DR": 2,
    "RX1Freq": 868_500_000,
    "xtime": (0x11 << 48 | 1_553_300_787) - 1_000_000,
}

STATION_VERSION = (
    '{"msgtype":"version","station":"2.0.6(linux/std)","firmware":null,"package":null,"model":"linux","protocol":2,'
    '"features":"rmtsh gps"}'
)
STATION_UPDF_TAIL = {
    "DR": 5,
    "Freq": 868_100_000,
    "upinfo": {
        "rctx": 0, "xtime": 53198770868251602, "gpstime": 0, "fts": -1, "rssi": -50, "snr": 9,
        "rxtime": 1795394129.839588,
    },
}  # fmt: skip
STATION_DNMSG = {
    "msgtype": "dnmsg", "DevEui": "00-00-00-00-11-00-00-01", "dC": 0, "diid": 4711, "pdu": "600403020180000005",
    "RxDelay": 1, "RX1DR": 5, "RX1Freq": 868_100_000, "RX2DR": 0, "RX2Freq": 869_525_000, "priority": 0,
    "xtime": 53198770868251602, "rctx": 0, "MuxTime": 1795394129.84,
}  # fmt: skip
STATION_DNTXED = (
    '{"msgtype":"dntxed","seqno":4711,"diid":4711,"DR":5,"Freq":868100000,"DevEui":"00-00-00-00-11-00-00-01","rctx":0,'
    '"xtime":53198770869251602,"txtime":1304.685707,"gpstime":0}'
)
