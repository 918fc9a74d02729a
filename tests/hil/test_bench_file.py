"""`bench.toml`: a bench as it is meant, and each mistake with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, UsageError
from hil_tests import bench_file

EXAMPLE = Path(bench_file.__file__).with_name("bench.example.toml").read_text(encoding="utf-8")

REAL = """\
[concentrator]
type = "libloragw"
board = "rak2287"
rssi_offset_db = -215.4
[[node]]
name = "rak"
type = "rak3172"
port = "/dev/ttyUSB0"
loss_db = 90
attenuator = "steps"
[attenuator.steps]
command = ["att", "--db", "{db:05.2f}"]
highest_db = 31.5
step_db = 0.5
[power]
port = "/dev/ttyUSB1"
[measure]
long_day = "24h"
"""


def mistakes(text: str) -> list[tuple[int, str]]:
    with pytest.raises(SettingsError) as raised:
        bench_file.parse(text.encode())
    return [(problem.line, problem.key) for problem in raised.value.problems]


def test_a_real_bench_is_read():
    found = bench_file.parse(REAL.encode())
    assert (found.concentrator, found.is_virtual, found.long_day_s) == ("libloragw", False, 86_400)
    assert found.radio == {"board": "rak2287", "rssi_offset_db": -215.4}
    assert [(node.name, node.port, node.loss_db, node.attenuator) for node in found.nodes] == [
        ("rak", "/dev/ttyUSB0", 90, "steps")
    ]
    assert found.attenuators[0].command == ("att", "--db", "{db:05.2f}")
    assert found.power == bench_file.RelayEntry(port="/dev/ttyUSB1")


def test_without_a_file_everything_is_virtual():
    found = bench_file.load(None)
    assert found == bench_file.VIRTUAL == bench_file.parse(b"")
    assert {node.type for node in found.nodes} == set(bench_file.NODE_TYPES)
    assert all(node.port is None for node in found.nodes)


def test_the_example_is_a_bench_and_shows_every_key():
    assert bench_file.parse(EXAMPLE.encode()).concentrator == "libloragw"
    shown = {line.removeprefix("#").partition("=")[0].strip() for line in EXAMPLE.splitlines() if "=" in line}
    tables = [*bench_file._TABLES.values(), bench_file._NODE, bench_file._ATTENUATOR]
    assert {key for table in tables for key in table} <= shown


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[concentrator]\ntype = 5\n", [(2, "concentrator.type")]),
        ('[concentrator]\ntype = "sx1301"\n', [(2, "concentrator.type")]),
        ('\n[modem]\nport = "x"\n', [(2, "modem")]),
        (REAL.replace("board", "bord"), [(3, "concentrator.bord")]),
        (REAL.replace('type = "rak3172"', 'type = "rak811"'), [(7, "node[0].type")]),
        (REAL.replace('port = "/dev/ttyUSB0"\n', ""), [(5, "node[0]")]),
        (REAL.replace("loss_db = 90", "loss_db = true"), [(9, "node[0].loss_db")]),
        (REAL.replace('attenuator = "steps"', 'attenuator = "step"'), [(10, "node[0].attenuator")]),
        (REAL.replace("{db:05.2f}", "{dB}"), [(12, "attenuator.steps.command")]),
        (REAL.replace("{db:05.2f}", "7"), [(12, "attenuator.steps.command")]),
        (REAL.replace('[power]\nport = "/dev/ttyUSB1"', '[power]\non = ["x"]'), [(15, "power")]),
        (REAL.replace('"24h"', '"a day"'), [(18, "measure.long_day")]),
        ('[[node]]\nname = "a"\ntype = "rak3172"\nport = "/dev/ttyUSB0"\n', [(4, "node[0].port")]),
        ('[[node]]\nname = "a"\ntype = "rak3172"\n[[node]]\nname = "a"\ntype = "wio-e5"\n', [(5, "node[1].name")]),
        ('[[node]]\nname = "../a"\ntype = "rak3172"\n', [(2, "node[0].name")]),
        ('[concentrator]\ntype = "packet-forwarder"\n', [(2, "concentrator.type")]),
        ('[concentrator]\nregion = "US915"\n', [(2, "concentrator.region")]),
        ('[concentrator]\nregion = "EU869"\n', [(2, "concentrator.region")]),
        ("node = 3\nattenuator = 4\njudge = 5\n", [(1, "node"), (2, "attenuator"), (3, "judge")]),
        ('[judge]\nlisten = "1730"\n[measure]\nprofile = "slow"\n', [(2, "judge.listen"), (4, "measure.profile")]),
        ("concentrator = [\n", [(1, "syntax")]),
    ],
)
def test_each_mistake_has_its_line_and_key(text, where):
    assert mistakes(text) == where


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"bench\.toml cannot be read"):
        bench_file.load(tmp_path / "bench.toml")


LINES = st.sampled_from([*REAL.splitlines(keepends=True), "[[node]]\n", "x = {}\n", "[usb]\n"])


@settings(deadline=None, max_examples=150)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(
            st.sampled_from([*REAL.splitlines(keepends=True), "[[node]]\n", "x = {}\n", "[usb]\n"]), max_size=25
        ).map(lambda lines: "".join(lines).encode()),
    )
)
def test_whatever_stands_in_it_is_a_bench_or_told(content):
    try:
        found = bench_file.parse(content)
    except SettingsError as error:
        found = error
    assert found.problems if isinstance(found, SettingsError) else found.nodes
