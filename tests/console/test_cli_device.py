"""`device …`: what is entered comes out again, what does not fit together is said, keys stay hidden."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest
from cli_site import Site
from readings import session

from gateway.model import AesKey, DevAddr, DevEui, JoinEui, MacVersion
from gateway.store.devices import DeviceRegistry
from gateway.store.known import Sighting
from gateway.store.network_file import NetworkFile

EUI = "70b3d57ed0000001"
KEY = {letter: letter * 32 for letter in "abcdef"}
OTAA = ("--join-eui", "70b3d57ed0000000", "--app-key", KEY["a"])
ABP_1_0 = ("--dev-addr", "26011bda", "--nwk-s-key", KEY["b"], "--app-s-key", KEY["c"])
ABP_1_1 = (
    "--dev-addr", "26011bda", "--f-nwk-s-int-key", KEY["b"], "--s-nwk-s-int-key", KEY["d"],
    "--nwk-s-enc-key", KEY["e"], "--app-s-key", KEY["c"],
)  # fmt: skip
JOINED = replace(session(1), dev_eui=DevEui.parse(EUI))
FIRST = ("device", "add", "--dev-eui", EUI, "--name", "PAV Antigone 12", "--codec", "acme/probe")


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


@pytest.fixture
def registry(site):
    """The registry as the daemon would read it."""
    with DeviceRegistry.open(site.data) as opened:
        yield opened


# --- add ------------------------------------------------------------------------------------------------------------


def test_abp_1_0(site, registry):
    typed = site.type(*FIRST, *ABP_1_0)
    assert (typed.code, typed.out) == (0, "")
    row = registry.get(DevEui.parse(EUI))
    assert (row.device.name, row.device.codec, row.device.device_class) == ("PAV Antigone 12", "acme/probe", "A")
    assert row.device.mac_version is MacVersion.V1_0_3
    assert not row.has_root_keys
    assert row.session.dev_addr == DevAddr.parse("26011bda")
    network_key = AesKey.parse(KEY["b"])
    assert row.session.f_nwk_s_int_key == row.session.s_nwk_s_int_key == row.session.nwk_s_enc_key == network_key
    assert row.session.app_s_key == AesKey.parse(KEY["c"])


def test_abp_1_1(site, registry):
    assert site.type(*FIRST, *ABP_1_1).code == 0
    session = registry.get(DevEui.parse(EUI)).session
    assert session.mac_version is MacVersion.V1_1_0
    keys = (session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key, session.app_s_key)
    assert [key.hex()[0] for key in keys] == ["b", "d", "e", "c"]


def test_a_gateway_that_only_listens_says_that_a_join_is_not_its_affair(site):
    with site.config.open("a") as file:
        file.write("\n[network]\nanswer = false\n")
    assert "answers no join" in site.type(*FIRST, *OTAA).err


def test_a_device_that_joined_is_shown_with_its_session(site):
    assert site.type(*FIRST, *OTAA).code == 0
    assert site.type("device", "show", EUI, "--json").json["dev_addr"] is None
    with NetworkFile.open(site.data) as network:
        for address in (0x2601_0001, 0x2601_0002):
            network.keep_join(DevEui.parse(EUI), "", replace(JOINED, dev_addr=DevAddr(address)), "")
    assert site.type("device", "list", "--json").json[0]["dev_addr"] == "26010002"


def test_otaa_keeps_the_keys_and_has_no_session_yet(site, registry):
    typed = site.type(*FIRST, *OTAA)
    assert typed.code == 0
    assert "answers no join" not in typed.err
    row = registry.get(DevEui.parse(EUI))
    assert (row.has_root_keys, row.session) == (True, None)
    assert row.device.join_eui == JoinEui.parse("70b3d57ed0000000")
    assert row.device.mac_version is MacVersion.V1_0_3
    keys = registry.root_keys(DevEui.parse(EUI))
    assert (keys.app_key.hex(), keys.nwk_key) == (KEY["a"], None)


def test_both_root_keys_mean_1_1(site, registry):
    assert site.type(*FIRST, *OTAA, "--nwk-key", KEY["f"]).code == 0
    assert registry.get(DevEui.parse(EUI)).device.mac_version is MacVersion.V1_1_0
    assert registry.root_keys(DevEui.parse(EUI)).nwk_key == AesKey.parse(KEY["f"])


def test_every_option_arrives(site, registry):
    typed = site.type(
        *FIRST[:2], "--dev-eui", "70:B3:D5:7E:D0:00:00:01", "--name", "  Musée  ", *ABP_1_0,
        "--region-profile", "eu868", "--mac-version", "1.0.4", "--class", "c", "--skip-f-cnt-check",
        "--var", "scale=2", "--var", "height = 3 = m", "--tag", "kind=glass", "--tag", "latitude=43.6",
    )  # fmt: skip
    assert typed.code == 0
    assert "without codec" in typed.err
    device = registry.get(DevEui.parse(EUI)).device
    assert (device.name, device.codec, device.region_profile) == ("Musée", None, "EU868")
    assert (device.mac_version, device.device_class, device.skip_f_cnt_check) == (MacVersion.V1_0_4, "C", True)
    assert device.variables == {"scale": "2", "height": "3 = m"}
    assert device.tags == {"kind": "glass", "latitude": "43.6"}


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "--app-key is missing: a device that joins has join_eui and app_key; one with a session has"),
        (["--join-eui", "70b3d57ed0000000"], "--app-key is missing"),
        (["--app-key", KEY["a"]], "--join-eui is missing"),
        (["--join-eui", "70b3d57ed0000000", "--nwk-key", KEY["a"]], "--app-key is missing: 1.1 has app_key"),
        ([*OTAA, "--mac-version", "1.1"], "--nwk-key is missing"),
        ([*OTAA, "--nwk-key", KEY["b"], "--mac-version", "1.0.4"], "--nwk-key belongs to LoRaWAN 1.1"),
        ([*OTAA, *ABP_1_0], "--dev-addr and root keys are both given"),
        ([*OTAA, "--app-s-key", KEY["c"]], "--app-s-key and root keys are both given"),
        (ABP_1_0[:2], "--nwk-s-key is missing: a 1.0.x session has dev_addr, nwk_s_key, app_s_key"),
        (ABP_1_0[2:], "--dev-addr is missing"),
        (ABP_1_0[:4], "--app-s-key is missing"),
        (ABP_1_1[:4], "--s-nwk-s-int-key is missing: a 1.1 session has"),
        ([*ABP_1_0[:2], "--app-s-key", KEY["c"], "--mac-version", "1.1.0"], "--f-nwk-s-int-key is missing"),
        ([*ABP_1_0, "--mac-version", "1.1.0"], "--nwk-s-key belongs to LoRaWAN 1.0.x"),
        ([*ABP_1_1, "--mac-version", "1.0.3"], "--f-nwk-s-int-key belongs to LoRaWAN 1.1"),
        ([*ABP_1_1, "--nwk-s-key", KEY["a"]], "--nwk-s-key and f_nwk_s_int_key are both given"),
        ([*ABP_1_0, "--codec", "acme/prob"], 'there is no codec "acme/prob"; did you mean acme/probe?'),
        ([*ABP_1_0, "--codec", "zzz"], "lorawan-gateway codec list"),
        ([*ABP_1_0, "--codec", ""], "--codec is empty"),
        ([*ABP_1_0, "--region-profile", "EU869"], '"EU869" is no region'),
        ([*ABP_1_0, "--mac-version", "1.0"], '"1.0" is no LoRaWAN version; one of 1.0.0, 1.0.1'),
        ([*ABP_1_0, "--class", "B"], '--class is wrong: "B" is not served'),
        ([*ABP_1_0, "--name", " "], "--name is empty"),
        ([*ABP_1_0, "--name", "a\nb"], "printable"),
        ([*ABP_1_0, "--name", "x" * 201], "at most 200"),
        ([*ABP_1_0, "--dev-eui", "70b3"], "--dev-eui is wrong: an EUI has 16 hex digits, '70b3' has 4"),
        ([*ABP_1_0, "--dev-eui", "7.01E+15"], "a spreadsheet took it for a number"),
        ([*ABP_1_0, "--dev-addr", "6011000"], "dropped zeros in front"),
        ([*ABP_1_0, "--dev-addr", "26011bdz"], "hex digits"),
        ([*ABP_1_0, "--app-s-key", "abc"], "--app-s-key is wrong: a key"),
        ([*ABP_1_0, "--tag", "a=1", "--tag", "a=2"], "--tag gives a twice"),
        ([*ABP_1_0, "--var", "a="], "--var gives a no value"),
        ([*ABP_1_0, "--tag", "a b=1"], "--tag a b is no name"),
        ([*ABP_1_0, "--tag", "a=\x1b[31m"], "--tag a has at most 200 printable"),
        ([*ABP_1_0, "--tag", "latitude=91"], '--tag latitude is "91"; degrees are wanted'),
        ([*ABP_1_0, "--tag", "longitude=3,5"], "--tag longitude is"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said_and_nothing_is_entered(site, registry, words, sentence):
    typed = site.type(*FIRST, *words)
    assert (typed.code, typed.out) == (2, "")
    (line,) = [line for line in typed.err.splitlines() if sentence in line]
    assert line.startswith("--")
    assert not [key for key in KEY.values() if key in typed.err]
    assert registry.list() == []


def test_all_mistakes_come_at_once(site):
    typed = site.type(*FIRST, "--dev-addr", "x", "--class", "D", "--nwk-s-key", "y", "--tag", "a=")
    assert [line.split()[0] for line in typed.err.splitlines()] == [
        "--tag", "--class", "--dev-addr", "--nwk-s-key", "--app-s-key",
    ]  # fmt: skip


def test_a_second_device_of_the_same_name_tag_is_refused(site, registry):
    assert site.type(*FIRST, *ABP_1_0).code == 0
    typed = site.type(*FIRST, *OTAA)
    assert (typed.code, typed.out) == (1, "")
    assert f"device {EUI} exists already" in typed.err
    assert len(registry.list()) == 1


def test_keys_may_come_from_stdin(site, registry):
    text = f'app-s-key = "{KEY["c"]}"\nnwk_s_key = "{KEY["b"]}"\ndev_addr = "26011bda"\n'
    assert site.type(*FIRST, "--keys", "-", stdin=text).code == 0
    assert registry.get(DevEui.parse(EUI)).session.app_s_key == AesKey.parse(KEY["c"])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("\nap_key = 'x'", ["stdin:2 ap_key is no key; did you mean app_key?"]),
        ("name = 'x'\n", ["stdin:1 name is no key; known: app_key"]),
        ("app_key = 1\n", ["stdin:1 app_key is not text in quotes"]),
        ("join_eui = '70b3d57ed0000000'\n", ["stdin:1 join_eui is given on the command line too"]),
        ("\n\napp_key = 'abc'\n", ["stdin:3 app_key is wrong: a key"]),
        ("app_key = \n", ["stdin:1 syntax is not TOML"]),
        ("", ["--app-key is missing"]),
        ("nwk_s_key = 1\nzzz = 2", ["stdin:1 nwk_s_key", "stdin:2 zzz"]),
        (b"\xff", ["stdin:1 file is not UTF-8"]),
    ],
)
def test_mistakes_in_keys_from_stdin_have_their_line(site, registry, text, lines):
    typed = site.type(*FIRST, "--join-eui", "70b3d57ed0000000", "--keys", "-", stdin=text)
    assert (typed.code, typed.out) == (2, "")
    for line, start in zip(typed.err.splitlines(), lines, strict=True):
        assert line.startswith(start)
    assert registry.list() == []


def test_keys_that_cannot_be_read_are_a_sentence(site):
    typed = site.type(*FIRST, "--keys", site.folder / "none")
    assert (typed.code, typed.err) == (2, f"{site.folder / 'none'} cannot be read: No such file or directory\n")


# --- show, list, set, remove ----------------------------------------------------------------------------------------


def test_list_and_show_tell_programs_everything_but_keys(site, registry):
    assert site.type(*FIRST, *ABP_1_0, "--tag", "kind=glass", "--var", "scale=2").code == 0
    seen = Sighting(f_cnt_up=41, last_mic=b"\0\0\0\0", utc_us=1_795_421_702_123_000, battery=83.0)
    registry.checkpoint("00000000", 1, [(registry.get(DevEui.parse(EUI)).session.session_id, seen)])
    (listed,) = site.type("device", "list", "--json").json
    assert listed == site.type("device", "show", EUI, "--json").json
    assert listed == {
        "dev_eui": EUI, "name": "PAV Antigone 12", "codec": "acme/probe", "last_seen": "2026-11-23T08:15:02.123Z",
        "battery": 83.0, "dev_addr": "26011bda", "f_cnt_up": 41, "mac_version": "1.0.3", "class": "A",
        "activation": "abp", "join_eui": None, "region_profile": None, "skip_f_cnt_check": False,
        "variables": {"scale": "2"}, "tags": {"kind": "glass"},
    }  # fmt: skip


def test_no_command_shows_keys_unasked(site):
    assert site.type(*FIRST, *ABP_1_0, "--json").out.count(EUI) == 1
    assert site.type(*FIRST[:3], "70b3d57ed0000002", *FIRST[4:], *OTAA).code == 0
    for words in (
        ["list"],
        ["list", "--json"],
        ["show", EUI],
        ["show", EUI, "--json"],
        ["export"],
        ["export", "--json"],
    ):
        typed = site.type("device", *words)
        assert typed.code == 0
        assert not [key for key in KEY.values() if key in typed.out + typed.err]


def test_the_list_is_a_table_that_fits_100_columns(site):
    names = ["short", "a name that goes on and on until it does not fit any more", "公共垃圾箱公共垃圾箱公共垃圾箱"]
    for number, name in enumerate(names, 1):
        words = [*FIRST[:3], f"70b3d57ed000000{number}", "--name", name, *FIRST[6:]]
        assert site.type(*words, *(OTAA if number == 1 else ABP_1_0)).code == 0
    header, *lines = site.type("device", "list").out.splitlines()
    assert header.split() == ["DEV_EUI", "NAME", "CODEC", "DEV_ADDR", "F_CNT", "LAST", "SEEN", "BATTERY"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 100
    assert "…" in next(line for line in lines if "0002" in line)
    start = header.index("CODEC")
    assert next(line for line in lines if "0001" in line)[start:].startswith("acme/probe")
    chinese = next(line for line in lines if "0003" in line)
    assert chinese[start - len(names[2]) :].startswith("acme/probe")


def test_an_empty_list(site):
    typed = site.type("device", "list")
    assert (typed.code, typed.out) == (0, "")
    assert "device add --help" in typed.err
    assert site.type("device", "list", "--json").json == []


def test_show_for_people(site):
    assert site.type(*FIRST, *ABP_1_0, "--tag", "kind=glass").code == 0
    shown = dict(
        line.split(maxsplit=1) for line in site.type("device", "show", "--dev-eui", EUI).out.splitlines() if " " in line
    )
    assert shown["name"] == "PAV Antigone 12"
    assert (shown["last_seen"], shown["skip_f_cnt_check"], shown["tags"]) == ("never", "no", "kind=glass")


def test_set_changes_what_is_named_and_nothing_else(site, registry):
    assert site.type(*FIRST, *ABP_1_0, "--tag", "kind=glass", "--tag", "street=Rue", "--var", "scale=2").code == 0
    typed = site.type(
        "device", "set", EUI, "--name", "New", "--class", "C", "--tag", "kind=", "--tag", "zone=3", "--json"
    )
    assert typed.code == 0
    assert (typed.json["name"], typed.json["class"]) == ("New", "C")
    device = registry.get(DevEui.parse(EUI)).device
    assert (device.name, device.codec, device.device_class) == ("New", "acme/probe", "C")
    assert (device.tags, device.variables) == ({"street": "Rue", "zone": "3"}, {"scale": "2"})
    assert registry.get(DevEui.parse(EUI)).session.app_s_key == AesKey.parse(KEY["c"])
    assert site.type("device", "set", EUI, "--skip-f-cnt-check").code == 0
    assert registry.get(DevEui.parse(EUI)).device.skip_f_cnt_check
    assert site.type("device", "set", EUI, "--no-skip-f-cnt-check").code == 0
    assert not registry.get(DevEui.parse(EUI)).device.skip_f_cnt_check


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["set", EUI], "nothing is to be changed"),
        (["set", EUI, "--codec", "acme/prob"], "did you mean acme/probe?"),
        (["set", EUI, "--mac-version", "1.1.0"], "--mac-version cannot go from 1.0.3 to 1.1.0"),
        (["set", EUI, "--name", ""], "--name is empty"),
        (["set", EUI, "--app-key", KEY["a"]], "unrecognized arguments"),
        (["set", "--name", "n"], "name one device"),
        (["show", EUI, "--dev-eui", "70b3d57ed0000002"], "name one device"),
    ],
)
def test_what_cannot_be_changed_is_said(site, words, sentence):
    assert site.type(*FIRST, *ABP_1_0).code == 0
    typed = site.type("device", *words)
    assert (typed.code, typed.out) == (2, "")
    assert sentence in typed.err


def test_remove(site, registry):
    assert site.type(*FIRST, *ABP_1_0).code == 0
    assert site.type("device", "remove", EUI, "--json").json == {"dev_eui": EUI, "removed": True}
    assert registry.list() == []


@pytest.mark.parametrize("words", [["show"], ["remove"], ["set", "--name", "n"]])
def test_an_unknown_device_is_exit_1(site, words):
    typed = site.type("device", *words, "--dev-eui", EUI)
    assert (typed.code, typed.out) == (1, "")
    assert f"no device {EUI} is known" in typed.err


# --- export ---------------------------------------------------------------------------------------------------------


def test_export_with_keys_enters_the_same_devices_elsewhere(site, registry, tmp_path):
    devices = (ABP_1_0, ABP_1_1, OTAA, (*OTAA, "--nwk-key", KEY["f"]))
    for number, keys in enumerate(devices):
        words = [*FIRST[:3], f"70b3d57ed000000{number}", "--name", f'"{number}", ü;', *FIRST[6:]]
        assert (
            site.type(*words, *keys, "--tag", "a,b=1;2" if number == 9 else "kind=glass, brown", "--class", "C").code
            == 0
        )
    before = registry.list()
    keys_before = [registry.root_keys(row.device.dev_eui) for row in before]
    file = tmp_path / "devices.csv"
    typed = site.type("device", "export", file, "--with-keys")
    assert (typed.code, typed.out) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for row in before:
        assert site.type("device", "remove", row.device.dev_eui).code == 0
    assert site.type("device", "import", file, "--json").json == {"imported": 4}
    assert [row.device for row in registry.list()] == [row.device for row in before]
    assert [registry.root_keys(row.device.dev_eui) for row in before] == keys_before
    keys = ("f_nwk_s_int_key", "s_nwk_s_int_key", "nwk_s_enc_key", "app_s_key", "dev_addr", "mac_version")
    assert [[getattr(row.session, key) for key in keys] for row in registry.list() if row.session] == [
        [getattr(row.session, key) for key in keys] for row in before if row.session
    ]


def test_export_without_keys_says_so(site):
    assert site.type(*FIRST, *ABP_1_0).code == 0
    typed = site.type("device", "export")
    assert "--with-keys" in typed.err
    assert typed.out == f"dev_eui,name,codec,mac_version,class\n{EUI},PAV Antigone 12,acme/probe,1.0.3,A\n"
    assert json.loads(site.type("device", "export", "--json").out)[0]["dev_eui"] == EUI


def test_export_to_where_nothing_can_be_written_is_a_sentence(site):
    typed = site.type("device", "export", site.folder / "none" / "x.csv")
    assert (typed.code, typed.out) == (2, "")
    assert "cannot be written" in typed.err
