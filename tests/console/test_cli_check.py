"""`check` and `config example`."""

from __future__ import annotations

import pytest
from cli_site import Site


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


TEN = """\
[gateway]
regoin = "EU868"
latitude = 91
longitude = 3
[store]
commit_interval = 1
max_size = "4 gigabytes"
when_full = "keep-newst"
[radio]
type = "packet-forwader"
listen = "1700"
[sink.city]
type = "mqtt"
ulr = "mqtt://host:1883"
format = "chripstack"
application = "waste"
[console]
listen = "127.0.0.1:99999"
"""


def test_ten_mistakes_print_ten_lines_and_exit_2(site):
    site.config.write_text(TEN)
    typed = site.command("check")
    assert typed.code == 2
    lines = typed.out.splitlines()
    assert len(lines) == 10
    assert [int(line.removeprefix(f"{site.config}:").split()[0]) for line in lines] == [
        2,
        3,
        6,
        7,
        8,
        10,
        11,
        14,
        15,
        18,
    ]
    assert lines[0] == f"{site.config}:2 gateway.regoin is unknown; did you mean gateway.region?"
    assert typed.err == f"10 problems in {site.config}\n"


def test_the_same_as_json(site):
    site.config.write_text(TEN)
    typed = site.type("check", "--json")
    assert typed.code == 2
    assert len(typed.json) == 10
    assert typed.json[0] == {
        "file": str(site.config),
        "line": 2,
        "key": "gateway.regoin",
        "problem": "is unknown; did you mean gateway.region?",
    }


def test_settings_in_order_are_exit_0_and_no_line(site):
    typed = site.type("check")
    assert (typed.code, typed.out) == (0, "")
    assert typed.err.endswith(f"{site.config} is in order\n")
    assert site.type("check", "--json").json == []


def test_a_file_that_is_no_toml_is_one_line(site):
    site.config.write_text("[gateway]\nregion = EU868\n")
    typed = site.type("check")
    assert typed.code == 2
    assert typed.out.startswith(f"{site.config}:2 syntax is not TOML")
    assert typed.out.count("\n") == 1


def test_what_this_version_does_not_have_yet_is_said(site):
    site.config.write_text('[radio]\ntype = "sx1302"\nboard = "rak2287"\n')
    typed = site.type("check")
    assert (typed.code, typed.out.split()[:2]) == (2, [f"{site.config}:2", "radio.type"])
    assert site.type("run").err == typed.out


def test_a_missing_secret_is_a_problem_of_check(site):
    site.config.write_text('[sink.s]\ntype = "mqtt"\nurl = "mqtt://h"\ntoken_file = "/nonexistent/token"\n')
    typed = site.type("check")
    assert typed.code == 2
    assert "sink.s.token_file names /nonexistent/token, which cannot be read" in typed.out


def test_a_missing_file_is_exit_2(site):
    typed = site.type("check", "--config", site.folder / "none.toml")
    assert (typed.code, typed.out) == (2, "")
    assert "cannot be read" in typed.err


def test_the_printed_example_is_in_order(site):
    typed = site.type("config", "example")
    assert (typed.code, typed.err) == (0, "")
    site.config.write_text(typed.out)
    assert site.type("check").code == 0
