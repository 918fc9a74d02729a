"""The M-Bus reader that several meters share: its cipher, its header, what it refuses, what it does with time."""

from __future__ import annotations

import pytest

from gateway.decoding import workbench
from gateway.decoding.catalogue import Catalogue, shipped_folder

CATALOGUE = Catalogue.load([shipped_folder()])
METER = "mbus/meter"
READERS = [name for name, entry in CATALOGUE.entries.items() if entry.script.path.name == "mbus.py"]
# OMS specification volume 2, annex N: a gas meter with security profile A, without its link layer.
OMS = "7A2A0020055923C95AAA26D1B2E7493B013EC4A6F6D3529B520EDFF0EA6DEFC99D6D69EBF3"
OMS_KEY, OMS_ADDRESS = "0102030405060708090A0B0C0D0E0F11", "9315785634123303"


def reader():
    module = {"__name__": "codec"}
    exec(CATALOGUE.entries[METER].script.read(), module)
    return module


MBUS = reader()


def decode(name, hexadecimal, recv_time=None, **variables):
    return workbench.decode(CATALOGUE, name, bytes.fromhex(hexadecimal), 1, variables, recv_time)


def test_one_file_reads_the_meters_of_all_makers():
    assert READERS == ["elvaco/cmi4100", "kamstrup/flowiq_2200", "mbus/meter", "sensus/iperl"]
    assert len({CATALOGUE.entries[name].script.path.resolve() for name in READERS}) == 1


# --- AES ------------------------------------------------------------------------------------------------------------


def test_aes_128_decrypts_as_fips_197():
    """Appendix C.1, and the key expansion of appendix A.1."""
    keys = MBUS["round_keys"](bytes(range(16)))
    plain = MBUS["block_decrypt"](keys, bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a"))
    assert plain.hex() == "00112233445566778899aabbccddeeff"
    expanded = MBUS["round_keys"](bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))
    assert expanded[10].hex() == "d014f9a8c9ee2589e13f0cc8b6630ca6"


def test_aes_128_cbc_decrypts_as_sp_800_38a():
    """Section F.2.2."""
    cipher = """7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2
                73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7"""
    plain = """6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51
               30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"""
    key, initial = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(16))
    assert MBUS["cbc_decrypt"](key, initial, bytes.fromhex(cipher)) == bytes.fromhex(plain)


def test_the_s_box_is_the_one_of_fips_197():
    """Figure 7, its first and last row."""
    assert MBUS["SBOX"][:16].hex() == "637c777bf26b6fc53001672bfed7ab76"
    assert MBUS["SBOX"][240:].hex() == "8ca1890dbfe6426841992d0fb054bb16"


# --- header ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "variables", "error"),
    [
        ("", {}, "the payload is empty"),
        ("73", {}, "offset 0: 0x73 begins no M-Bus message that is known (0x72, 0x78, 0x7a)"),
        ("7a2a00", {}, "offset 3: the header of 0x7a has 5 bytes"),
        ("72" + "00" * 8, {}, "offset 9: the header of 0x72 has 13 bytes"),
        ("7a2a002007", {}, "offset 4: encryption mode 7 is not read, only 5 is"),
        (OMS, {}, "offset 5: encrypted, set the variable mbus_key to the meter's key"),
        (OMS, {"mbus_key": OMS_KEY}, "offset 5: encrypted, and the short header has no address: set mbus_address"),
        (OMS, {"mbus_key": OMS_KEY, "mbus_address": "00" * 8}, "offset 5: mbus_key or mbus_address does not fit"),
        (OMS, {"mbus_key": "00" * 16, "mbus_address": OMS_ADDRESS}, "offset 5: mbus_key or mbus_address does not fit"),
        (OMS[:40], {"mbus_key": OMS_KEY, "mbus_address": OMS_ADDRESS}, "offset 5: 2 encrypted blocks need 32 bytes"),
        (OMS, {"mbus_key": "0102"}, "variable mbus_key has 2 bytes, 16 are needed"),
        (OMS, {"mbus_key": "secret"}, "variable mbus_key is no hexadecimal number"),
        ("78", {"maker": "acme"}, "variable maker is 'acme', known are kamstrup, sensus, elvaco and none"),
        ("78", {"meter": "gas"}, "variable meter is 'gas', water or heat is needed"),
        ("78", {"utc_offset_min": "1h"}, "variable utc_offset_min is '1h', a whole number from -1440 to 1440"),
        ("7804", {}, "offset 2: the message ends before the unit of the record at 1"),
        ("780413010203", {}, "offset 3: a value has 4 bytes, 3 are left"),
        ("78" + "84" * 12, {}, "offset 1: the DIF has more than 10 extensions"),
        ("7804" + "93" * 12, {}, "offset 2: the VIF has more than 10 extensions"),
        ("7884", {}, "offset 2: the message ends within a DIF"),
        ("787f13", {}, "offset 1: 0x7f begins no record that is known"),
        ("78047c0343524900000000", {}, "offset 2: a unit in plain text is not read"),
        ("780d13c4", {}, "offset 3: a value of variable length 0xc4 is not read"),
        ("780d13", {}, "offset 3: the message ends before the length of a value"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told_with_its_place(payload, variables, error):
    found = decode(METER, payload, **variables)
    (told,) = found["errors"]
    assert told.startswith(error)
    assert found["measurements"] == []
    assert found["data"]["raw"] == payload.lower()


def test_a_key_never_comes_back_in_an_answer():
    for address in (OMS_ADDRESS, "00" * 8):
        assert OMS_KEY.lower() not in str(decode(METER, OMS, mbus_key=OMS_KEY, mbus_address=address)).lower()


def test_an_elvaco_message_of_an_unknown_format_is_not_guessed():
    assert decode("elvaco/cmi4100", "c8040600000000")["errors"] == ["offset 0: message format 0xc8 is not known"]


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "quantity", "value"),
    [
        # EN 13757-3, table 10: the power of ten is in the code.
        ("041040420f00", "volume", 1.0),
        ("041640420f00", "volume", 1000000),
        ("0413ffffffff", "volume", -0.001),
        ("0c1378563412", "volume", 12345.678),
        ("0b3b0000f1", "flow", -10.0),
        ("0513000020c1", "volume", -0.01),
        ("07130100000000000000", "volume", 0.001),
        ("04937b01000000", "volume", None),
        ("04933c01000000", "reverse_volume", 0.001),
        ("04933b01000000", "volume", 0.001),
        ("04403c000000", "flow", 0.00036),
        ("040e64000000", "energy", 27.777778),
        ("04fb0001000000", "energy", 100),
        ("02658007", "ambient_temperature", 19.2),
        ("025a0a00", "water_temperature", 1.0),
        ("02650080", "ambient_temperature", None),
        ("0c137856341a", "volume", None),
        ("841013e8030000", "volume", None),
        ("844013e8030000", "volume", None),
    ],
)
def test_values_and_their_units(record, quantity, value):
    found = {item["quantity"]: item["value"] for item in decode(METER, "78" + record)["measurements"]}
    assert found.get(quantity) == value


def test_a_meter_in_local_time_says_so():
    message = "78446D00064E33441340E20100"
    times = [item["time"] for item in decode(METER, message, utc_offset_min="60")["measurements"]]
    assert times == ["2026-03-14T05:00:00Z"]


@pytest.mark.parametrize(
    ("control", "elements", "expected"),
    [
        ("4301", "010000 020000", [("23:59:59", 0.999), ("23:59:58", 0.997)]),
        ("6101", "01 02", [("23:00:00", 0.999), ("22:00:00", 0.997)]),
        ("a101", "01 02", [("23:00:00", 1.001), ("22:00:00", 1.003)]),
        ("e101", "ff 02", [("23:00:00", 1.001), ("22:00:00", 0.999)]),
        ("2201", "2003 8403", [("23:00:00", 0.8), ("22:00:00", 0.9)]),
        ("6101", "01 ff 02", [("23:00:00", 0.999)]),
    ],
)
def test_a_profile_is_walked_back_from_its_base(control, elements, expected):
    """EN 13757-3, annex F: the control byte says how the elements count and how far apart they are."""
    profile = bytes.fromhex(control + elements)
    found = decode(METER, f"78446d0020ee2a4413e80300004d9313{len(profile):02x}{profile.hex()}")["measurements"]
    older = [(item["time"][11:19], item["value"]) for item in found if "T00:00:00" not in item["time"]]
    assert older[::-1] == expected


def test_a_profile_by_months_is_in_data_only():
    found = decode(METER, "78446d002041334413e80300004d93130471fe0a14")
    assert [item["time"][:10] for item in found["measurements"]] == ["2026-03-01"]
    assert found["warnings"] == ["the profile of volume: spacing 254 of unit 3 is not known"]


@pytest.mark.parametrize(
    ("status", "flags", "alarms"),
    [
        # The Things Network's device repository, vendor/sensus/iperl-oms.js: the bits it asks for.
        ("00", "", set()),
        ("04", "", {"low_battery"}),
        ("90", "", {"leak", "temporary_error"}),
        ("50", "", {"tamper", "temporary_error"}),
        ("30", "", {"empty_pipe", "temporary_error"}),
        ("48", "", {"permanent_error"}),
        ("80", "", set()),
        ("00", "02fd170100", {"tamper"}),
        ("00", "02fd174000", {"tamper"}),
        ("00", "02fd170200", {"low_battery"}),
        ("00", "02fd171000", {"permanent_error"}),
        ("00", "02fd178004", {"leak"}),
        ("00", "02fd178018", {"empty_pipe", "burst"}),
        ("00", "02fd178020", {"sensor_error"}),
        ("00", "02fd170004", set()),
    ],
)
def test_iperl_alarms(status, flags, alarms):
    found = decode("sensus/iperl", f"7a06{status}0000{flags}")
    assert {item["quantity"] for item in found["measurements"] if item["value"] is True} == alarms
    assert {"leak", "tamper", "empty_pipe"} <= {item["quantity"] for item in found["measurements"]}


def test_a_log_of_the_future_is_doubted():
    message = "78446D00064E33441340E20100"
    assert decode(METER, message, "2026-03-14T08:00:00Z")["warnings"] == []
    (doubt,) = decode(METER, message, "2026-03-12T08:00:00Z")["warnings"]
    assert doubt.startswith("the meter's log is of 2026-03-14T06:00:00Z, but")
