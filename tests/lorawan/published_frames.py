"""Data frames that others publish, with what they say is in them.

Sources, each independent of the others:

- lora-packet: the npm package lora-packet 0.9.3, __tests__ of its repository (some heard from real devices)
- brocaar: the Go module github.com/brocaar/lorawan at a18a103 (2024-05-07), phypayload_test.go
- lora-rs: the Rust crate lorawan (lorawan-encoding) 0.9.1, tests/lorawan.rs
- answers: what brocaar/lorawan made of random fields. lora-packet 0.9.3 agreed with each MIC and each plain text. All
  in all 3,000 random frames of both versions and directions were compared with both once, without a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.lorawan.frame import Direction
from gateway.model import AesKey, DevAddr, DevEui, MacVersion, Session


@dataclass(frozen=True)
class Published:
    """A frame from elsewhere; `payload` and `f_opts` are plain, None where the source does not tell."""

    source: str
    phy: bytes
    dev_addr: DevAddr
    f_cnt: int
    f_port: int | None
    f_key: AesKey  # NwkSKey in 1.0.x
    s_key: AesKey | None = None
    enc_key: AesKey | None = None
    app_s_key: AesKey | None = None
    version: MacVersion = MacVersion.V1_0_3
    direction: Direction = Direction.UP
    confirmed: bool = False
    adr: bool = False
    ack: bool = False
    payload: bytes | None = None
    f_opts: bytes | None = b""
    conf_f_cnt: int = 0
    tx_dr: int = 0
    tx_ch: int = 0

    @property
    def session(self) -> Session:
        """The session that made it; keys the source does not tell are zero."""
        unknown = AesKey(bytes(16))
        is_1_1 = self.version.is_1_1
        return Session(
            dev_eui=DevEui(bytes(8)),
            dev_addr=self.dev_addr,
            mac_version=self.version,
            f_nwk_s_int_key=self.f_key,
            s_nwk_s_int_key=(self.s_key or unknown) if is_1_1 else self.f_key,
            nwk_s_enc_key=(self.enc_key or unknown) if is_1_1 else self.f_key,
            app_s_key=self.app_s_key or unknown,
        )


def _key(text: str) -> AesKey:
    return AesKey.parse(text)


_LP = {"f_key": _key("44024241ed4ce9a68c6a8bc055233fd3"), "app_s_key": _key("ec925802ae430ca77fd3dd73cb2cc588")}
_ONES = _key("01" * 16)
_TWOS = _key("02" * 16)
_1_1 = MacVersion.V1_1_0
_BR_1_1 = {
    "version": _1_1,
    "s_key": _TWOS,
    "f_key": _key("02" * 15 + "03"),
    "enc_key": _key("02" * 15 + "04"),
    "app_s_key": _ONES,
    "dev_addr": DevAddr(0x01020304),
}

LORA_PACKET = [
    Published(
        source="lora-packet: the frame of its README",
        phy=bytes.fromhex("40f17dbe4900020001954378762b11ff0d"),
        dev_addr=DevAddr(0x49BE7DF1),
        f_cnt=2,
        f_port=1,
        payload=b"test",
        **_LP,
    ),
    Published(
        source="lora-packet: three blocks of payload",
        phy=bytes.fromhex(
            "40f17dbe490004000155332de41a11adc072553544429ce7787707d1c316e027e7e5e334263376affb8aa17ad30075293f28dea8"
            "a20af3c5e7"
        ),
        dev_addr=DevAddr(0x49BE7DF1),
        f_cnt=4,
        f_port=1,
        payload=b"The quick brown fox jumps over the lazy dog.",
        **_LP,
    ),
    Published(
        source="lora-packet: a port without payload",
        phy=bytes.fromhex("40f17dbe49000300012a3518af"),
        dev_addr=DevAddr(0x49BE7DF1),
        f_cnt=3,
        f_port=1,
        payload=b"",
        **_LP,
    ),
    Published(
        source="lora-packet: an acknowledgement from the network",
        phy=bytes.fromhex("60f17dbe4920020001f9d65d27"),
        dev_addr=DevAddr(0x49BE7DF1),
        f_cnt=2,
        f_port=1,
        direction=Direction.DOWN,
        ack=True,
        payload=b"",
        **_LP,
    ),
    Published(
        source="lora-packet: a device's frame on port 0",
        phy=bytes.fromhex("4006dc00fcc07400000244925050"),
        dev_addr=DevAddr(0xFC00DC06),
        f_cnt=0x74,
        f_port=0,
        f_key=_key("581c4d08ef04cda30b1fef7a8b2c74b8"),
        adr=True,
    ),
    Published(
        source="lora-packet: a device's frame with FOpts",
        phy=bytes.fromhex("40f7ec10e081000002015a171220b0c6d6470fc3"),
        dev_addr=DevAddr(0xE010ECF7),
        f_cnt=0,
        f_port=1,
        f_key=_key("17da125f3d55b28cc16a8111bd1d6c0b"),
        adr=True,
        f_opts=b"\x02",
    ),
    Published(
        source="lora-packet: a 1.1 device on channel 1",
        phy=bytes.fromhex("40736310e080000000c86c36165131"),
        version=_1_1,
        dev_addr=DevAddr(0xE0106373),
        f_cnt=0,
        f_port=0,
        f_key=_key("e163635133105cc690cb2d57ba9c31b9"),
        s_key=_key("05ec7c795b2f0b5bcdfa710db52b9d8f"),
        adr=True,
        tx_ch=1,
    ),
    Published(
        source="lora-packet: RekeyInd of a 1.1 device",
        phy=bytes.fromhex("40679810e080000000c2c5248de748"),
        version=_1_1,
        dev_addr=DevAddr(0xE0109867),
        f_cnt=0,
        f_port=0,
        f_key=_key("07c105892e1bbb7f7101d13a5f78249b"),
        s_key=_key("f9162a2fcf6e70867cee523249282844"),
        enc_key=_key("a5406d11c50850c965c2545ad81980a7"),
        app_s_key=_key("38034b6efc87cf9c40ac0b45b460d395"),
        adr=True,
        payload=b"\x0b\x01",
        tx_ch=1,
    ),
    Published(
        source="lora-packet: a 1.1 downlink with FOpts under AFCntDown",
        phy=bytes.fromhex("600403020103000022ac0a01f0b468ddaa5ed13a"),
        version=_1_1,
        direction=Direction.DOWN,
        dev_addr=DevAddr(0x01020304),
        f_cnt=0,
        f_port=1,
        f_key=_ONES,
        s_key=_key("01" * 15 + "00"),
        enc_key=_key("01" * 14 + "0200"),
        app_s_key=_key("100f0e0d0c0b0a090807060504030201"),
        payload=b"\x01\x02\x03\x04",
        f_opts=b"\x02\x07\x01",
    ),
]

BROCAAR = [
    Published(
        source="brocaar: 1.0, FRMPayload data",
        phy=bytes((64, 4, 3, 2, 1, 128, 1, 0, 1, 166, 148, 100, 38, 21, 214, 195, 181, 130)),
        dev_addr=DevAddr(0x01020304),
        f_cnt=1,
        f_port=1,
        f_key=_TWOS,
        app_s_key=_ONES,
        adr=True,
        payload=b"hello",
    ),
    Published(
        source="brocaar: 1.0, Mac-commands in FOpts",
        phy=bytes((64, 4, 3, 2, 1, 3, 0, 0, 2, 3, 5, 1, 106, 55, 152, 245, 182, 77, 192, 57)),
        dev_addr=DevAddr(0x01020304),
        f_cnt=0,
        f_port=1,
        f_key=_ONES,
        app_s_key=_ONES,
        payload=b"\x01\x02\x03\x04",
        f_opts=b"\x02\x03\x05",
    ),
    Published(
        source="brocaar: 1.0, Mac-commands in FRMPayload",
        phy=bytes((64, 4, 3, 2, 1, 0, 0, 0, 0, 105, 54, 158, 238, 106, 165, 8)),
        dev_addr=DevAddr(0x01020304),
        f_cnt=0,
        f_port=0,
        f_key=_ONES,
        app_s_key=_ONES,
        payload=b"\x02\x03\x05",
    ),
    Published(
        source="brocaar: 1.1, FRMPayload data",
        phy=bytes((64, 4, 3, 2, 1, 128, 1, 0, 1, 166, 148, 100, 38, 21, 118, 18, 54, 106)),
        f_cnt=1,
        f_port=1,
        adr=True,
        payload=b"hello",
        tx_dr=2,
        tx_ch=3,
        **_BR_1_1,
    ),
    Published(
        source="brocaar: 1.1, FRMPayload data with ACK",
        phy=bytes((64, 4, 3, 2, 1, 160, 1, 0, 1, 166, 148, 100, 38, 21, 248, 66, 196, 185)),
        f_cnt=1,
        f_port=1,
        adr=True,
        ack=True,
        payload=b"hello",
        conf_f_cnt=1,
        tx_dr=2,
        tx_ch=3,
        **_BR_1_1,
    ),
    Published(
        source="brocaar: 1.1, Mac-commands in FOpts (encrypted, using NFCntDown)",
        phy=bytes((96, 4, 3, 2, 1, 3, 0, 0, 223, 180, 241, 226, 79, 31, 159)),
        direction=Direction.DOWN,
        f_cnt=0,
        f_port=None,
        payload=b"",
        f_opts=b"\x02\x07\x01",
        **_BR_1_1,
    ),
    Published(
        source="brocaar: 1.1, Mac-commands in FOpts (AFCntDown; its test signs them unencrypted)",
        phy=bytes((96, 4, 3, 2, 1, 3, 0, 0, 2, 7, 1, 1, 119, 112, 30, 163)),
        direction=Direction.DOWN,
        f_cnt=0,
        f_port=1,
        payload=b"",
        f_opts=None,
        **_BR_1_1,
    ),
    Published(
        source="brocaar: 1.1, Mac-commands in FRMPayload (its test takes the key of ones)",
        phy=bytes((64, 4, 3, 2, 1, 0, 0, 0, 0, 105, 54, 158, 250, 147, 27, 215)),
        f_cnt=0,
        f_port=0,
        payload=b"\x02\x03\x05",
        tx_dr=2,
        tx_ch=3,
        **{**_BR_1_1, "enc_key": _ONES},
    ),
]

LORA_RS = [
    Published(
        source="lora-rs: a confirmed downlink beyond 16 bits of counter",
        phy=bytes.fromhex("a00403020180ff2a2a0af1a36a05d0125f885d881d49e1"),
        direction=Direction.DOWN,
        dev_addr=DevAddr(0x01020304),
        f_cnt=76_543,
        f_port=42,
        f_key=_TWOS,
        app_s_key=_ONES,
        confirmed=True,
        adr=True,
        payload=b"hello lora",
    ),
    Published(
        source="lora-rs: FOpts and no port",
        phy=bytes.fromhex("4004030201030000020305d7fa0c6c"),
        dev_addr=DevAddr(0x01020304),
        f_cnt=0,
        f_port=None,
        f_key=_ONES,
        payload=b"",
        f_opts=b"\x02\x03\x05",
    ),
]

ANSWERS = [
    Published(
        source="answers: 1.1 up, ACK, FOpts, turned counter",
        phy=bytes.fromhex("801b8a50cd2b72690a8cfa431341ebc788e10f0667d8211d0e"),
        version=_1_1,
        dev_addr=DevAddr(3444607515),
        f_cnt=988113266,
        f_port=6,
        f_key=_key("77fc49f40238852e3fef7a45b5e03673"),
        s_key=_key("c7f3e8d797741b4606624ce7ebb1d4b2"),
        enc_key=_key("51ce46087805c934bfdb27033d722b3d"),
        app_s_key=_key("ef2881687db176dfbce9c0b1a3e86c0b"),
        confirmed=True,
        ack=True,
        payload=bytes.fromhex("f3"),
        f_opts=bytes.fromhex("f8c2207cb0d765d3cbca33"),
        conf_f_cnt=6775,
        tx_dr=12,
        tx_ch=74,
    ),
    Published(
        source="answers: 1.1 up on port 0, three blocks",
        phy=bytes.fromhex(
            "80f3dd18a0002f6d008043fb15e5426b749d56044dbde472782de3a3918e5370dfdff882b8b911cf669ee5c57c94"
        ),
        version=_1_1,
        dev_addr=DevAddr(2685984243),
        f_cnt=3142544687,
        f_port=0,
        f_key=_key("10df993d29e687b8654e3c118b81aa90"),
        s_key=_key("e5848852aeb72aefc5c6d978d8347688"),
        enc_key=_key("c8496f5fd7ca88d40dbaa68d6e5f559b"),
        app_s_key=_key("98861c10d9ef4620ba03573e9cccaf14"),
        confirmed=True,
        payload=bytes.fromhex("1d6cbe201549e031a6b14e685e0f800be9c9a828fc11c6c3777e2c172aa46ed5cb"),
        tx_dr=5,
        tx_ch=75,
    ),
    Published(
        source="answers: 1.1 up, FOpts, the first counter of the second turn",
        phy=bytes.fromhex("403c07ded08a0000abdff3c9871c654555168334410fe200cd6ea59d27a5823a068ba6d9ff40"),
        version=_1_1,
        dev_addr=DevAddr(3504211772),
        f_cnt=65_536,
        f_port=131,
        f_key=_key("71edca6ce07e064fbabd5c78740db237"),
        s_key=_key("fbec3f18e7d948a8953db6dd94f41471"),
        enc_key=_key("8135faf8a960941d627bcfb24725d365"),
        app_s_key=_key("14cedc827d56a49d06006ce29f2a6ce0"),
        adr=True,
        payload=bytes.fromhex("a37b7bdb689a8f7835f1a155b6e257"),
        f_opts=bytes.fromhex("bf4ef32cce03c05d4150"),
        tx_dr=13,
        tx_ch=1,
    ),
    Published(
        source="answers: 1.1 down, ACK, FOpts under AFCntDown",
        phy=bytes.fromhex("a0d0217974260100167b6420b89adfbc8fc0e7c59f1d55006baa80ee0e724e48fa67a896"),
        version=_1_1,
        direction=Direction.DOWN,
        dev_addr=DevAddr(1954095568),
        f_cnt=1,
        f_port=223,
        f_key=_key("31f5a10873a7a14c02599d9beec6307d"),
        s_key=_key("13cb0460b7f6dbc1dd0760f3d884d277"),
        enc_key=_key("8ebd401aa8d17090cb87780015b08c0b"),
        app_s_key=_key("37091634947dbada85c0f4ebd850950b"),
        confirmed=True,
        ack=True,
        payload=bytes.fromhex("70e963cc3f47512bf6fbbeeca887ef040b"),
        f_opts=bytes.fromhex("b9512b9a4698"),
        conf_f_cnt=42003,
    ),
    Published(
        source="answers: 1.1 down, FOpts under NFCntDown, turned counter",
        phy=bytes.fromhex("608ca264ae86aca01582f62bb2c3d9d0b38f"),
        version=_1_1,
        direction=Direction.DOWN,
        dev_addr=DevAddr(2925830796),
        f_cnt=244752556,
        f_port=None,
        f_key=_key("ed8d7443905aa9ae38fbd1feea0cc689"),
        s_key=_key("148f0367c14b6585601c7cdc70497b06"),
        enc_key=_key("8018e1a7941e30aeb86936e8f5d0d30a"),
        adr=True,
        payload=b"",
        f_opts=bytes.fromhex("bf9d6b5f8bba"),
    ),
    Published(
        source="answers: 1.0 up, ACK, FOpts, turned counter",
        phy=bytes.fromhex("4030a6213b21ff2ace03d89f6182fd2ff6964f7a86b8ab06ab7a1b728b4e18c2b91c"),
        dev_addr=DevAddr(992060976),
        f_cnt=76_543,
        f_port=3,
        f_key=_key("0f5c4e03b49f90639b1ecddce621499a"),
        app_s_key=_key("8c82a2a50a7f30ce6e4cf4e09a0cbd96"),
        ack=True,
        payload=bytes.fromhex("8500a94b7ac366070daf8766757a06475cd0053b"),
        f_opts=bytes.fromhex("ce"),
    ),
    Published(
        source="answers: 1.0 down on port 0, turned counter",
        phy=bytes.fromhex(
            "a0cfac1e4f00b21a00509c841c494bab5e9e2dc4caf0ea18cdd6e8dcd76b785bddce9ffd6337a741cbabe0c632ed"
        ),
        direction=Direction.DOWN,
        dev_addr=DevAddr(1327410383),
        f_cnt=544414386,
        f_port=0,
        f_key=_key("3a70ad5e6fa453ff7804ade2ddb71495"),
        confirmed=True,
        payload=bytes.fromhex("84daf0966dbc331d36b6eebb00430fa3c9565a5216b4b2cc0989e568a337856784"),
    ),
]

ALL = LORA_PACKET + BROCAAR + LORA_RS + ANSWERS
UPLINKS = [frame for frame in ALL if frame.direction is Direction.UP]
