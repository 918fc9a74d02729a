"""Joins that others publish, and what other implementations made of random ones.

Sources, each independent of the others:

- brocaar: the go module github.com/brocaar/lorawan at a18a103 (2024-05-07), phypayload_test.go
- chirpstack: chirpstack/chirpstack at d77207c (2026-07-23), lrwn/src/keys.rs and lrwn/src/netid.rs, tests
- ANSWERS: the bytes are what brocaar/lorawan made of these fields, the keys what lora-packet 0.9.3 (npm) derived;
  those of 1.0.x were made by pamoja-lorawan 0.1.18 (PyPI) as well. In all 600 random accepts of both versions and of
  all rejoin types were compared once, without a difference.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.lorawan.session_keys import AcceptFields
from gateway.model import DevAddr

JOIN_REQUESTS = {
    "brocaar: TestPHYPayloadJoinRequest": (
        "00040302010403020105040302050403022d106a990e12",
        "01" * 16,
    ),
    "brocaar: ExamplePHYPayload_joinRequest": (
        "0001010101010101010202020202020202030309b97b32",
        "0102030405060708090a0b0c0d0e0f10",
    ),
}
"""PHYPayload and root key, by source."""

REJOIN_REQUESTS = {
    "brocaar: TestPHYPayloadRejoinRequest02": ("c0020302010807060504030201db003c8642ae", 2, 219),
    "brocaar: TestPHYPayloadRejoinRequest1": ("c0010807060504030201100f0e0d0c0b0a09db00eac31072", 1, 219),
}
"""PHYPayload signed with a key of zeros, its type, and its RJcount, by source."""


@dataclass(frozen=True)
class Accept:
    """A published join-accept; keys in hex."""

    source: str
    phy: str
    app_key: str
    fields: AcceptFields
    nwk_key_of_1_1: bool = False
    join_eui: str = "00" * 8
    dev_nonce: int = 0


ACCEPTS = [
    Accept(
        source="brocaar: TestPHYPayloadJoinAccept",
        phy="20493eeb51fba2116f810edb3742975142",
        app_key="00112233445566778899aabbccddeeff",
        fields=AcceptFields(5704647, 0x221101, DevAddr(0x02031980), False, 0, 0, 0),
    ),
    Accept(
        source="brocaar: ExamplePHYPayload_joinAcceptSend",
        phy="2023cf335489aae3183c0be0baa8dee5f3",
        app_key="0102030405060708090a0b0c0d0e0f10",
        fields=AcceptFields(65793, 0x020202, DevAddr(0x01020304), False, 0, 0, 0),
    ),
]

ACCEPT_1_1_PHY = "207abeea06b02920f11c02d0348fcf1815"
"""brocaar: ExamplePHYPayload_lorawan11JoinAcceptSend. It signs and encrypts with the key of ACCEPTS[1], for the join
request 0807060504030201 with DevNonce 258; the fields are those of ACCEPTS[1] with OptNeg."""

CHIRPSTACK_ROOT = "01020304050607080102030405060708"
CHIRPSTACK_1_0 = ("df53c35f3034ccced0ff354c70de04df", "927b9c911183cffe4cb2ff4b75545f6d")
CHIRPSTACK_1_1 = (
    "537f8aae896c79e015d102d06286354e",
    "589498993092cfdb5fd2e02ac7510bf1",
    "9898283c4f66eb6c6fd5165882046c40",
    "01621215d1ca08febf0c602cc2ad90fa",
)

NET_ID_PREFIXES = [
    (0x00006D, 0x5A000000, 7),
    (0x20006D, 0xAD000000, 8),
    (0x40036D, 0xD6D00000, 12),
    (0x76DB6D, 0xE6DA0000, 15),
    (0x96DB6D, 0xF5B68000, 17),
    (0xB6DB6D, 0xFB6DA000, 19),
    (0xD6DB6D, 0xFD6DB400, 22),
    (0xF6DB6D, 0xFE6DB680, 25),
]
"""chirpstack, netid.rs: NetID, first DevAddr, fixed bits."""


@dataclass(frozen=True)
class Answer:
    """Random fields, and what others made of them. Keys: FNwkSIntKey, SNwkSIntKey, NwkSEncKey, AppSKey."""

    app_key: str
    nwk_key: str | None
    rejoin_type: int | None
    join_eui: str
    dev_eui: str
    dev_nonce: int
    fields: AcceptFields
    phy: str
    keys: tuple[str, str, str, str]


ANSWERS = [
    Answer(
        app_key="d3177c54f43091acd5a919657cf79b7e",
        nwk_key=None,
        rejoin_type=None,
        join_eui="b4f89544ca72c403",
        dev_eui="64ba86cce586236c",
        dev_nonce=61371,
        fields=AcceptFields(
            join_nonce=10076856,
            net_id=0x5FAF64,
            dev_addr=DevAddr(0x7891DA33),
            opt_neg=False,
            rx1_dr_offset=2,
            rx2_data_rate=13,
            rx_delay_s=1,
            cf_list=bytes.fromhex(""),
        ),
        phy="206c5773dc3697843c03908009ec77cdb4",
        keys=(
            "2013323f59b5c41b926b6c502cf34a53",
            "2013323f59b5c41b926b6c502cf34a53",
            "2013323f59b5c41b926b6c502cf34a53",
            "bc46dca87f51cb7cff2c285ce8625c7d",
        ),
    ),
    Answer(
        app_key="8aa53dc15cda6293625bc1e5a7dffaf6",
        nwk_key=None,
        rejoin_type=None,
        join_eui="dcb015d076767b8f",
        dev_eui="3217bc169e9b118a",
        dev_nonce=49468,
        fields=AcceptFields(
            join_nonce=13040349,
            net_id=0x5F2C00,
            dev_addr=DevAddr(0xFAB36728),
            opt_neg=False,
            rx1_dr_offset=1,
            rx2_data_rate=13,
            rx_delay_s=8,
            cf_list=bytes.fromhex("052f1bb258904c2dafd0eeee5242a700"),
        ),
        phy="2017566f3d144798def475e02589b17edcd28391df5c70ae18bad5598525e17608",
        keys=(
            "a321b651416c0e9866e2e57d0f3d57dc",
            "a321b651416c0e9866e2e57d0f3d57dc",
            "a321b651416c0e9866e2e57d0f3d57dc",
            "dad7a34e1f9855af51ead135df4ae257",
        ),
    ),
    Answer(
        app_key="73a7a14c02599d9beec6307d13cb0460",
        nwk_key="b7f6dbc1dd0760f3d884d2778ebd401a",
        rejoin_type=None,
        join_eui="a8d17090cb877800",
        dev_eui="15b08c0b37091634",
        dev_nonce=5930,
        fields=AcceptFields(
            join_nonce=15266371,
            net_id=0xDD5666,
            dev_addr=DevAddr(0x073A65A3),
            opt_neg=True,
            rx1_dr_offset=3,
            rx2_data_rate=4,
            rx_delay_s=15,
            cf_list=bytes.fromhex(""),
        ),
        phy="202f12b4d43b560d0c506bf0eb99887c16",
        keys=(
            "c5a168e18fa9e74e77d88dd1c19186da",
            "22f55b510e19225abb42560e1ecc313e",
            "04bed8fbf0a6277720e4498596568b57",
            "ab44d23419e234bdf36642f66920560a",
        ),
    ),
    Answer(
        app_key="c71ae9f2bf7a8a0f21bc0dc2b916ac45",
        nwk_key="c9fce80cf41a9c78770284d250e12edd",
        rejoin_type=None,
        join_eui="ff0accc1a601b490",
        dev_eui="8e6214fb53e33a3c",
        dev_nonce=25677,
        fields=AcceptFields(
            join_nonce=16012407,
            net_id=0x3A6778,
            dev_addr=DevAddr(0x68E58909),
            opt_neg=True,
            rx1_dr_offset=5,
            rx2_data_rate=13,
            rx_delay_s=12,
            cf_list=bytes.fromhex("45e586593d9e3d169935e640ca741c00"),
        ),
        phy="2075d4057800b2a2f3c37afb8f43bbaef5b55b05e2a3576a079cc2430e4bd2237a",
        keys=(
            "b2b30e226e0a46c97d16dfe8ef5e655e",
            "e4e56beae1865f728e3787f42e9c4e7b",
            "3d958f41d8483a3f0ad7d6b6f4a57b81",
            "d9460db9adc0ebf8a5c7111e0ee1d581",
        ),
    ),
    Answer(
        app_key="5e9ca7a10e1ea9432428fb591ea436e6",
        nwk_key="6dab0e965c123039110c52bf9e85747d",
        rejoin_type=0,
        join_eui="b0dacc4042363d5c",
        dev_eui="1d76954dbe3ce53d",
        dev_nonce=42481,
        fields=AcceptFields(
            join_nonce=13288016,
            net_id=0xCE337D,
            dev_addr=DevAddr(0xB5AE2D8A),
            opt_neg=True,
            rx1_dr_offset=3,
            rx2_data_rate=1,
            rx_delay_s=8,
            cf_list=bytes.fromhex(""),
        ),
        phy="202cf2e224cad0b96dcc560cf762a66ba0",
        keys=(
            "7654ba1ea9fc8a6b39526a4163104f3f",
            "bc7549a408a78bb557c9046fb47d66aa",
            "8723a311d67eedb5b61ca17b82345389",
            "8c3f7713070cfb44e2378ac33d868ce5",
        ),
    ),
    Answer(
        app_key="dd5a888db119645c36adea613edd3bce",
        nwk_key="a6cb43958993cb9592f79a9080522f0b",
        rejoin_type=0,
        join_eui="c804791885ca66b7",
        dev_eui="73d49268746284a3",
        dev_nonce=10996,
        fields=AcceptFields(
            join_nonce=10537862,
            net_id=0x41750E,
            dev_addr=DevAddr(0x5595E972),
            opt_neg=True,
            rx1_dr_offset=5,
            rx2_data_rate=13,
            rx_delay_s=10,
            cf_list=bytes.fromhex("f69b7d45e50c04a5622637935b201d00"),
        ),
        phy="205a38bbdc10b0d7d5bcad07f0d4274beeb36cf0dcbb8dec2450ecda080f2fb913",
        keys=(
            "4eaf1904808a344b81dc6ee22fae0cf0",
            "d45044c560316d13bb34b006cfc10266",
            "96dcbb9c2a2b3ac9eee5c2375d1785f3",
            "e883f71e75c287fe1a10247ab548ad23",
        ),
    ),
    Answer(
        app_key="c30c4e6dbd120aa9cb9cf75b3deb5142",
        nwk_key="a89a151888ebd9b60bce5fbded15864f",
        rejoin_type=1,
        join_eui="1f7b8de2a5b403a9",
        dev_eui="078fd55d878762e6",
        dev_nonce=43214,
        fields=AcceptFields(
            join_nonce=9476869,
            net_id=0x23CDB5,
            dev_addr=DevAddr(0x08F9BC92),
            opt_neg=True,
            rx1_dr_offset=1,
            rx2_data_rate=11,
            rx_delay_s=1,
            cf_list=bytes.fromhex(""),
        ),
        phy="200af97a847a67b4b6c0dad322a406e643",
        keys=(
            "325e956188207229ffb18f28022f6d9b",
            "040b7368b15b60903b28062941970e78",
            "4d6398563f294f4f61a28e5474491fd0",
            "58b67a0539724d97b59cb920d9978259",
        ),
    ),
    Answer(
        app_key="d80db7acbca1611f2e1c1bb230b9c4f9",
        nwk_key="c036936d92ee44873108eb3cc78ee756",
        rejoin_type=1,
        join_eui="b94bca2968a576b7",
        dev_eui="d6af38b31d83bba2",
        dev_nonce=38609,
        fields=AcceptFields(
            join_nonce=8437094,
            net_id=0xAAAABC,
            dev_addr=DevAddr(0x670C1CD3),
            opt_neg=True,
            rx1_dr_offset=6,
            rx2_data_rate=9,
            rx_delay_s=6,
            cf_list=bytes.fromhex("f30909bfc7cef4db72e4fd16dc23fe00"),
        ),
        phy="2046abe15bbdb5f88fe87a432d1b01f9002d833d83dd30c195783bbb038199cffa",
        keys=(
            "c3f8128e6a02c05fb362548a36dfdfc4",
            "363198008f74c9cd14a52f2096095435",
            "91de039f950b9c7f23a50aeeea1a7866",
            "d405933d65789dc2558d27b057309ba1",
        ),
    ),
    Answer(
        app_key="0d8a55541937fbd716b1eb8c7ae15a4d",
        nwk_key="e9286608edc0ecfc80f8110c01249499",
        rejoin_type=2,
        join_eui="d0ffb13baad4e672",
        dev_eui="f4d8352b70ad410b",
        dev_nonce=50671,
        fields=AcceptFields(
            join_nonce=14623854,
            net_id=0x4713D4,
            dev_addr=DevAddr(0x42CDBF88),
            opt_neg=True,
            rx1_dr_offset=6,
            rx2_data_rate=13,
            rx_delay_s=1,
            cf_list=bytes.fromhex(""),
        ),
        phy="20c7328d4198567225efe533ec46ac815f",
        keys=(
            "fcb03b50165887ce7ec4e09db4e0924e",
            "d4e989c8f81b0f68f2c277c3b61cbe3f",
            "3d2ba52920f3635321893df8ad2182d8",
            "55d42642792b49dfe7cb5ab91d46fbab",
        ),
    ),
    Answer(
        app_key="cbd1c24fe42d0624c74d28c780e9acb3",
        nwk_key="2eba0feb2c3b06548946c74f56066a76",
        rejoin_type=2,
        join_eui="931144e260547c60",
        dev_eui="3c4c52fd8ff8dfb0",
        dev_nonce=5481,
        fields=AcceptFields(
            join_nonce=8677426,
            net_id=0xECD09A,
            dev_addr=DevAddr(0x090178D7),
            opt_neg=True,
            rx1_dr_offset=7,
            rx2_data_rate=13,
            rx_delay_s=1,
            cf_list=bytes.fromhex("ec75423077f17b8cd589235443daa600"),
        ),
        phy="20393e6321f28ea34aa09f65d525c10620c2a006ca85fae2da2aca90d6874d1073",
        keys=(
            "a6887b6ab6bf3d31a5fb3345842147a1",
            "b85082689c0a7644fab431c1347c3a65",
            "49af9808b73e38fd85d7e3b26dd34916",
            "4e4da7e4fc84f00b2c358abb7d6dc701",
        ),
    ),
]
