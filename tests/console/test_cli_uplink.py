"""`uplink …` on the files of a gateway that does not run; `tests/line` has the same with one that does."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import suppress

import pytest
from cli_site import Site
from hypothesis import given
from hypothesis import strategies as st
from kept_site import LATE, LATE_KEY, air, kept, late_frame, minutes, opened, unknown

from gateway.console.arguments import Parser, moment
from gateway.model import Decoded, DevAddr, Refusal


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def counters(readings: list[dict]) -> list[int]:
    return [one["f_cnt"] for one in readings]


# --- list, export


def test_list_has_the_newest_first_and_at_most_so_many(site):
    kept(site, *(minutes(number) for number in range(1, 31)))
    assert counters(site.type("uplink", "list", "--json").json) == list(range(30, 10, -1))
    assert counters(site.type("uplink", "list", "--json", "--limit", "3").json) == [30, 29, 28]
    assert counters(site.type("uplink", "list", "--json", "--limit", "0").json) == []


def test_list_and_export_take_one_device_and_one_time(site):
    kept(site, *(minutes(number, of=1 + number % 2) for number in range(1, 11)))
    device = ("--dev-eui", "00:00:00:00:00:00:00:02")
    assert counters(site.type("uplink", "list", "--json", *device).json) == [9, 7, 5, 3, 1]
    span = ("--from", "2026-11-23T10:18:02Z", "--to", "2026-11-23T10:21:00Z")
    assert counters(lines(site.type("uplink", "export", *span).out)) == [3, 4, 5]
    assert counters(lines(site.type("uplink", "export", *span, *device).out)) == [3, 5]


def test_list_for_people_fits_a_terminal_whatever_stands_in_it(site):
    long = Decoded("a/b@1", {}, (), (), "the payload is " + "very " * 50 + "long\x1b[2J")
    kept(site, minutes(1), minutes(2, name="容器" * 30 + "\n", decoded=long))
    typed = site.type("uplink", "list")
    assert len(typed.out.splitlines()) == 3
    assert max(map(len, typed.out.splitlines())) <= 100
    assert "\x1b" not in typed.out
    assert "Fill level 70 %" in typed.out


def test_export_is_a_reading_a_line_oldest_first_and_nothing_else(site):
    kept(site, *(minutes(number) for number in range(1, 1_204)))  # more than one slice
    typed = site.type("uplink", "export")
    assert counters(lines(typed.out)) == list(range(1, 1_204))
    assert typed.err == "1203 readings exported\n"
    first = lines(typed.out)[0]
    assert first["record_id"].startswith("0016c001ff10a235-")
    assert (first["time"], first["late"]) == ("2026-11-23T10:16:02.123Z", False)


def test_raw_has_every_frame_by_time(site):
    foreign = air(bytes.fromhex("40efcdab010001000102030405060708"), 2)
    joining = air(bytes(23), 4)
    kept(
        site, minutes(1), minutes(3),
        unopened=((foreign, unknown(DevAddr(0x01ABCDEF))), (joining, unknown(DevAddr(0), Refusal.JOIN_NOT_SERVED))),
    )  # fmt: skip
    found = lines(site.type("uplink", "export", "--raw", "--json").out)
    assert [one.get("reason") for one in found] == [None, "unknown_device", None, "join_not_served"]
    assert [one["dev_addr"] for one in found] == ["00000001", "01abcdef", "00000001", None]
    assert found[1]["phy_payload"] == "40efcdab010001000102030405060708"
    assert [one["dev_eui"] for one in found if "reason" in one] == [None, None]
    assert all(one["phy_payload"] for one in found)


def test_a_damaged_record_costs_itself_and_is_counted(site):
    kept(site, *(minutes(number) for number in range(1, 6)))
    store = opened(site)
    db = store._log._open_db()
    db.execute(
        "UPDATE record SET body = CAST(substr(body, 1, 40) || x'00' || substr(body, 42) AS BLOB) WHERE position = 3"
    )
    for file in (store._log, store._seals, store._cursors, store._registry):
        file.close()
    typed = site.type("uplink", "export")
    assert counters(lines(typed.out)) == [1, 2, 4, 5]
    assert "1 record cannot be read: damaged" in typed.err


# --- read again


def add_late_device(site, *more: str) -> None:
    key = LATE_KEY.hex()
    added = site.type(
        "device", "add", "--dev-eui", str(LATE.dev_eui), "--name", "cellar", "--codec", "acme/probe",
        "--dev-addr", str(LATE.dev_addr), "--nwk-s-key", key, "--app-s-key", key, *more,
    )  # fmt: skip
    assert added.code == 0, added.err


def reread(site, *words: str) -> tuple[int, int]:
    """What was opened, and the new records."""
    answer = site.type("uplink", "reread", *words, "--json").json
    return answer["opened"], answer["records"]


def unopened_frames(*f_cnts: int, reason: Refusal = Refusal.UNKNOWN_DEVICE):
    return tuple((late_frame(f_cnt, number), unknown(LATE.dev_addr, reason)) for number, f_cnt in enumerate(f_cnts))


def test_frames_of_a_late_device_become_readings_once(site):
    kept(site, minutes(1), unopened=unopened_frames(3, 5, 5))
    assert reread(site) == (0, 0)
    add_late_device(site)
    assert reread(site) == (2, 2)
    assert reread(site) == (0, 0)
    assert reread(site, "--all") == (0, 0)
    mine = lines(site.type("uplink", "export", "--dev-eui", str(LATE.dev_eui)).out)
    assert [(one["f_cnt"], one["late"], one["name"], one["gap_before"]) for one in mine] == [
        (3, True, "cellar", 0), (5, True, "cellar", 1),
    ]  # fmt: skip
    assert mine[0]["time"] == "2026-11-23T10:15:02.123Z"
    assert mine[0]["measurements"] == [{"quantity": "temperature", "value": 13.1, "unit": "°C"}]


def test_only_what_was_meant_is_read_again(site):
    kept(site, unopened=unopened_frames(1, 2, 3))
    add_late_device(site)
    assert reread(site, "--dev-eui", "0000000000000001") == (0, 0)
    assert reread(site, "--from", "2026-11-23T10:16:00Z", "--to", "2026-11-23T10:17:00Z") == (1, 1)
    assert reread(site, "--to", "2026-11-23T10:17:00Z") == (1, 1)
    assert reread(site) == (1, 1)


def test_a_frame_that_was_refused_as_played_back_is_not_let_in_by_reading_it_again(site):
    kept(site, unopened=unopened_frames(7, reason=Refusal.REPLAY))
    add_late_device(site)
    assert reread(site) == (0, 0)
    assert site.type("device", "set", str(LATE.dev_eui), "--skip-f-cnt-check").code == 0
    assert reread(site) == (1, 1)


def test_two_frames_with_one_counter_are_two_readings_only_where_counters_are_not_checked(site):
    other = (late_frame(5, 9, b"\x00\x99"), unknown(LATE.dev_addr))
    kept(site, unopened=(*unopened_frames(5), other))
    add_late_device(site)
    assert reread(site) == (1, 1)
    assert site.type("device", "set", str(LATE.dev_eui), "--skip-f-cnt-check").code == 0
    assert reread(site) == (1, 1)


def test_a_mended_codec_mends_the_readings_it_failed_on(site):
    kept(site, unopened=unopened_frames(1, 2))
    codec = site.folder / "codecs" / "acme" / "probe" / "probe.py"
    good = codec.read_text()
    codec.write_text("def decode(payload, port, variables):\n    raise ValueError('no')\n")
    add_late_device(site)
    assert reread(site) == (2, 2)
    assert all(one["problem"] for one in lines(site.type("uplink", "export").out))
    answer = site.type("uplink", "reread", "--json").json
    assert (answer["decoded_again"], answer["still_failing"], answer["records"]) == (2, 2, 0)
    codec.write_text(good)
    assert reread(site) == (0, 2)
    assert reread(site) == (0, 0)
    codec.write_text(good.replace("/ float", "/ 10 / float"))  # another result, and no problem to mend
    assert reread(site) == (0, 0)
    assert reread(site, "--all") == (0, 2)
    assert reread(site, "--all") == (0, 0)
    found = lines(site.type("uplink", "export").out)
    assert [one["data"] and one["data"]["temperature"] for one in found] == [None, None, 13.1, 13.1, 1.31, 1.31]
    assert len({one["id"] for one in found}) == 2


def test_reread_tells_a_person_what_came_of_it(site):
    kept(site, unopened=unopened_frames(1))
    add_late_device(site)
    typed = site.type("uplink", "reread")
    assert (typed.code, typed.out) == (0, "")
    assert "of 1 frames that nobody could open, 1 are opened now" in typed.err
    assert "1 new reading kept" in typed.err


# --- times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("-2d", 172_800), ("-90min", 5_400), ("-90m", 5_400), ("-1.5h", 5_400), ("-1w", 604_800), ("now", 0)],
)
def test_a_time_ago(text, seconds):
    before = time.time_ns() // 1000
    assert 0 <= moment(text) - (before - seconds * 1_000_000) < 60_000_000


def test_a_time_of_the_calendar(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Paris")
    time.tzset()
    try:
        assert moment("2026-11-23T08:00:00Z") == 1_795_420_800_000_000
        assert moment("2026-11-23T09:00:00") == moment("2026-11-23T09:00:00+01:00") == 1_795_420_800_000_000
        assert moment("2026-11-23") == 1_795_420_800_000_000 - 9 * 3_600_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(max_size=40))
def test_any_text_is_a_time_or_a_sentence(text):
    with suppress(argparse.ArgumentTypeError):
        assert isinstance(moment(text), int)


def test_what_is_ago_is_no_option_and_options_stay_options():
    parser = Parser()
    parser.add_argument("--from", dest="since", type=str)
    parser.add_argument("--raw", action="store_true")
    assert vars(parser.parse_args(["--from", "-2d", "--raw"])) == {"since": "-2d", "raw": True}
    assert vars(parser.parse_args(["--from=-2d"])) == {"since": "-2d", "raw": False}
    with pytest.raises(SystemExit):
        parser.parse_args(["--from", "--raw"])
