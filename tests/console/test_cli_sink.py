"""`sink …` on the files of a gateway that does not run; `tests/line` has the same with one that does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_site import CHECKOUT, Site
from kept_site import kept, minutes, opened

from gateway.store.owner import Ownership


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


@pytest.fixture
def troubled(site):
    """Ten readings, eight with the city, of which it takes one never."""
    kept(site, *(minutes(number) for number in range(1, 11)), acknowledged=7, refused=((8, "5000 bytes are too many"),))
    return site


def test_list_says_how_far_each_destination_is(troubled):
    city, archive = troubled.type("sink", "list", "--json").json
    assert city == {
        "name": "city", "state": "stopped", "evidence": "no daemon runs", "acknowledged": 7, "queued": 2,
        "given_up": 1, "skipped": 0, "oldest_age_s": None, "dead_letters": 1, "paused": False, "resent": 0,
        "losses": {},
    }  # fmt: skip
    assert (archive["name"], archive["acknowledged"], archive["queued"]) == ("archive", 0, 10)


def test_list_for_people_is_a_table(troubled):
    typed = troubled.type("sink", "list")
    header, city, _ = typed.out.splitlines()
    assert header.split() == ["SINK", "STATE", "ACKNOWLEDGED", "QUEUED", "GIVEN", "UP", "RESENT", "DEAD"]
    assert city.split() == ["city", "stopped", "7", "2", "1", "0", "1"]
    assert max(map(len, typed.out.splitlines())) <= 80


def test_reading_changes_nothing_and_needs_no_store_of_its_own(site):
    kept(site)
    for words in (("list",), ("dead-letters", "city")):
        with Ownership(site.data):  # somebody else's
            assert site.type("sink", *words).code == 0
    empty = site.folder / "empty"
    site.config.write_text(site.config.read_text().replace('path = "data"', 'path = "empty"'))
    assert site.type("sink", "list", "--json").json[0]["queued"] == 0
    assert site.type("sink", "dead-letters", "city", "--json").json == []
    assert site.type("uplink", "list", "--json").json == []
    assert not empty.exists()


def test_pause_and_resume_are_remembered(troubled):
    assert troubled.type("sink", "pause", "city", "--json").json == {"sink": "city", "paused": True, "queued": 2}
    city, archive = troubled.type("sink", "list", "--json").json
    assert [(one["state"], one["paused"]) for one in (city, archive)] == [("paused", True), ("stopped", False)]
    typed = troubled.type("sink", "resume", "city")
    assert (typed.code, typed.out) == (0, "")
    assert "city goes on, 2 readings waiting" in typed.err
    assert troubled.type("sink", "list", "--json").json[0]["paused"] is False


@pytest.mark.parametrize(
    ("span", "records"),
    [
        (("2026-11-23T00:00:00Z", "2026-11-24T00:00:00Z"), 8),  # what waits comes by itself
        (("2026-11-23T10:18:00Z", "2026-11-23T10:20:00Z"), 2),
        (("2026-11-23T11:18:00+01:00", "2026-11-23T11:20:00+01:00"), 2),
        (("2026-11-22", "2026-11-23T00:00:00Z"), 0),
    ],
)
def test_resend_takes_what_was_heard_in_that_time(troubled, span, records):
    words = ("sink", "resend", "city", "--from", span[0], "--to", span[1], "--json")
    assert troubled.type(*words, "--dry-run").json == {"sink": "city", "records": records, "dry_run": True}
    assert wanted_again(troubled) == ()
    assert troubled.type(*words).json["records"] == records
    assert sum(last - first + 1 for first, last in wanted_again(troubled)) == records


def wanted_again(site):
    store = opened(site)
    try:
        return store.subscribe("city").again
    finally:
        store._log.close()
        store._seals.close()
        store._cursors.close()
        store._registry.close()


def test_dead_letters_are_named_with_their_reading(troubled):
    [letter] = troubled.type("sink", "dead-letters", "city", "--json").json
    assert letter["record_id"].startswith("0016c001ff10a235-")
    assert letter["record_id"].endswith("-8")
    assert letter["refused_at"].endswith("Z")
    assert {key: letter[key] for key in ("position", "dev_eui", "name", "reason", "time")} == {
        "position": 8, "dev_eui": "0000000000000001", "name": "PAV Antigone 12", "reason": "5000 bytes are too many",
        "time": "2026-11-23T10:23:02.123Z",
    }  # fmt: skip
    typed = troubled.type("sink", "dead-letters", "city")
    assert typed.out.splitlines()[1].split(maxsplit=3) == [
        "8", "2026-11-23", "10:23:02", "PAV Antigone 12  5000 bytes are too many",
    ]  # fmt: skip
    assert troubled.type("sink", "dead-letters", "archive", "--json").json == []


def test_a_dead_letter_that_is_tried_again_stays_until_it_is_taken(troubled):
    assert troubled.type("sink", "dead-letters", "city", "--retry", "--json").json == {"sink": "city", "records": 1}
    assert wanted_again(troubled) == ((8, 8),)
    assert len(troubled.type("sink", "dead-letters", "city", "--json").json) == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("pause", "town"), "there is no sink 'town'"),
        (("dead-letters", "town"), "known: city, archive"),
        (("resend", "city", "--from", "-1d", "--to", "-2d"), "--to is not later than --from"),
        (("resend", "city", "--from", "yesterday", "--to", "now"), "is no time such as"),
        (("resend", "city", "--from", "-1d"), "--to"),
        (("resend", "city", "--from", "99999-01-01", "--to", "now"), "is no time such as"),
        (("list", "city"), "unrecognized arguments"),
    ],
)
def test_what_cannot_be_is_said(troubled, words, problem):
    typed = troubled.type("sink", *words)
    assert (typed.code, typed.out) == (2, "")
    assert problem in typed.err


def test_a_store_that_somebody_holds_is_not_changed(troubled):
    with Ownership(troubled.data):
        typed = troubled.type("sink", "pause", "city")
    assert typed.code == 4
    assert str(os.getpid()) in typed.err


def test_a_data_folder_that_cannot_be_read_is_no_traceback(troubled):
    [part] = (troubled.data / "log").glob("*.sqlite3")
    part.write_bytes(b"SQLite format 3\0" + bytes(2_000))
    for words in (("sink", "list"), ("uplink", "list"), ("sink", "dead-letters", "city")):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "--config", str(troubled.config), *words],
            capture_output=True, text=True, cwd=CHECKOUT, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (4, False)
