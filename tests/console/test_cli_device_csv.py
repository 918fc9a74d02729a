"""`device import`: spreadsheets of all countries, every problem by its line, all devices or none."""

from __future__ import annotations

import csv
import io

import pytest
from cli_site import Site
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.console.device_csv import read_devices, write_devices
from gateway.console.device_file import FIELDS, CodecNames, describe
from gateway.errors import SettingsError
from gateway.model import AesKey, DevAddr, DevEui, Device, JoinEui, MacVersion, RootKeys, Session
from gateway.store.devices import DeviceRegistry

CODECS = CodecNames(frozenset({"acme/probe"}))
A, B = "a" * 32, "b" * 32
HEADER = "dev_eui,name,codec,dev_addr,nwk_s_key,app_s_key"
ROW = f"70b3d57ed0000001,PAV 1,acme/probe,26011bda,{A},{B}"


@pytest.fixture
def site(tmp_path, capsys, monkeypatch):
    return Site(tmp_path, capsys, monkeypatch)


def _read(text: str | bytes, known: frozenset[DevEui] = frozenset()):
    return read_devices(text if isinstance(text, bytes) else text.encode(), "f.csv", CODECS, known)


def _problems(text: str | bytes, known: frozenset[DevEui] = frozenset()) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        _read(text, known)
    return [str(problem).removeprefix("f.csv:") for problem in raised.value.problems]


# --- forms of CSV ---------------------------------------------------------------------------------------------------

PLAIN = f"{HEADER},class,tag.kind\n{ROW},C,glass\n"


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.removesuffix("\n").encode(),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        f"\n\n{PLAIN}\n;;;\n".replace(",", ";").encode(),
        PLAIN.replace("PAV 1", '"PAV 1"').encode(),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.upper().replace("ACME/PROBE", "acme/probe").replace("GLASS", "glass").replace("KIND", "kind").encode(),
        PLAIN.replace("dev_eui", "Dev-EUI").replace("app_s_key", "app s key").encode(),
        PLAIN.replace("tag.kind", "tag").replace("glass", "kind=glass").encode(),
    ],
)
def test_every_form_of_the_same_file_reads_the_same(content):
    (entry,) = _read(content)
    assert entry.device == Device(
        DevEui.parse("70b3d57ed0000001"), "PAV 1", "acme/probe", device_class="C", tags={"kind": "glass"}
    )
    assert entry.session.dev_addr == DevAddr.parse("26011bda")
    assert entry.session.nwk_s_enc_key == AesKey.parse(A)
    assert entry.root_keys is None


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("a=1", {"a": "1"}),
        ("a=1; b = x y ;", {"a": "1", "b": "x y"}),
        ("a=1 b=2", {"a": "1", "b": "2"}),
        ("street=Rue de la Loge", {"street": "Rue de la Loge"}),
        ("a=b=c", {"a": "b=c"}),
        ("", {}),
    ],
)
def test_a_cell_has_several_tags(cell, tags):
    (entry,) = _read(f"{HEADER},tag,tag,tag.own\n{ROW},{cell},z=26,mine\n")
    assert entry.device.tags == {**tags, "z": "26", "own": "mine"}


def test_quoted_cells_may_have_separators_and_quotes():
    (entry,) = _read(HEADER + "\n" + ROW.replace("PAV 1", '"PAV ""1"", rue;"'))
    assert entry.device.name == 'PAV "1", rue;'


@pytest.mark.parametrize("word", ["true", "1", "yes", "x", "VRAI", "oui", "TRUE"])
def test_yes_in_the_words_of_spreadsheets(word):
    (entry,) = _read(f"{HEADER},skip_f_cnt_check\n{ROW},{word}\n")
    assert entry.device.skip_f_cnt_check
    assert entry.session.skip_f_cnt_check


# --- problems -------------------------------------------------------------------------------------------------------


def test_every_problem_of_every_line_comes_at_once():
    assert _problems(
        f"{HEADER},class\n"
        f"70b3d57ed0000001,A,acme/probe,26011bda,{A},{B},A\n"
        f"70b3,B,acme/prob,26011bda,{A},{B},A\n"
        "\n"
        f'70b3d57ed0000003,"C",acme/probe,26011bda,{A},,D\n'
        f"70b3d57ed0000001,D,acme/probe,26011bda,{A},{B},A\n"
        f"70b3d57ed0000009,,acme/probe,26011bda,{A},{B},A\n",
        known=frozenset({DevEui.parse("70b3d57ed0000001")}),
    ) == [
        "2 dev_eui is 70b3d57ed0000001, a device that exists already",
        "3 dev_eui is wrong: an EUI has 16 hex digits, '70b3' has 4",
        '3 codec is wrong: there is no codec "acme/prob"; did you mean acme/probe?',
        '5 class is wrong: "D" is not served; A or C',
        "5 app_s_key is missing: a 1.0.x session has dev_addr, nwk_s_key, app_s_key",
        "6 dev_eui is 70b3d57ed0000001, as in line 2",
        "7 name is missing",
    ]


@pytest.mark.parametrize(
    ("content", "starts"),
    [
        ("", ["1 file is empty"]),
        ("\n\n", ["1 file is empty"]),
        (f"{HEADER}\n", ["1 file has a header and no device"]),
        ("dev_eui;codec\n1;2\n", ["1 name is missing: no column has this name"]),
        ("a,b\n1,2\n", ["1 a is no column; known: dev_eui", "1 b is no", "1 dev_eui is missing", "1 name is missing"]),
        (f"{HEADER},tags\n{ROW},x\n", ["1 tags is no column; did you mean tag?", "2 tag has"]),
        (f"{HEADER},comment\n{ROW},x\n", ["1 comment is no column; known: dev_eui"]),
        (f"{HEADER},name\n{ROW},x\n", ["1 name is the name of two columns"]),
        (f"{HEADER},tag.a,tag.a\n{ROW},1,2\n", ["1 tag.a is the name of two columns"]),
        (f"{HEADER},tag,tag.a\n{ROW},a=1,2\n", ['2 tag gives "a" twice']),
        (f"{HEADER},tag\n{ROW},a\n", ['2 tag has "a", which is not NAME=VALUE']),
        (f"{HEADER},tag\n{ROW},=a\n", ["2 tag has"]),
        (f"{HEADER},tag.latitude\n{ROW},north\n", ['2 tag.latitude is "north"; degrees']),
        (f"{HEADER}\n{ROW},x\n", ["2 row has 7 cells, the header 6"]),
        (f'{HEADER}\n{ROW}\n"open,{ROW}\n\n', ["3 row is no CSV: unexpected end of data"]),
        (f'{HEADER}\n{ROW}\n"a"b,\n', ["3 row is no CSV"]),
        (f"{HEADER}\n{ROW}\n{'x' * 140_000}\n", ["3 row is no CSV: field larger"]),
        (f"{HEADER}\n{ROW.replace('PAV', 'Musée')}\n".encode("latin-1"), ['2 file is not UTF-8 text: save it as "CSV']),
        (b"\xff\xfe\x00", ["1 file is not UTF-8"]),
        (f"{HEADER}\n{ROW.replace('70b3d57ed0000001', '7.00E+15')}\n", ["2 dev_eui is wrong: an EUI"]),
        (f"{HEADER}\n{ROW.replace('PAV 1', 'a' + chr(0) + 'b')}\n", ["2 name is wrong"]),
        (f'{HEADER}\n{ROW.replace("PAV 1", chr(34) + "a" + chr(10) + "b" + chr(34))}\n{ROW}\n', ["2 name is wrong"]),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_problem_with_its_line(content, starts):
    for problem, start in zip(_problems(content), starts, strict=True):
        assert problem.startswith(start)
        assert A not in problem


def test_import_is_all_or_nothing(site):
    file = site.folder / "devices.csv"
    file.write_text(f"{HEADER}\n{ROW}\n{ROW.replace('0001', '00')}\n")
    typed = site.type("device", "import", file)
    assert (typed.code, typed.out) == (2, "")
    assert typed.err.startswith(f"{file}:3 dev_eui is wrong")
    with DeviceRegistry.open(site.data) as registry:
        assert registry.list() == []
        file.write_text(f"{HEADER}\n{ROW}\n{ROW.replace('0001', '0002')}\n")
        assert site.type("device", "import", file).err == "2 devices imported\n"
        assert len(registry.list()) == 2
    typed = site.type("device", "import", "-", stdin=file.read_bytes())
    assert typed.code == 2
    assert [line.split()[0] for line in typed.err.splitlines()] == ["stdin:2", "stdin:3"]
    assert "exists already" in typed.err


def test_a_missing_file_is_a_sentence(site):
    typed = site.type("device", "import", site.folder / "none.csv")
    assert (typed.code, typed.out) == (2, "")
    assert "cannot be read" in typed.err


# --- arbitrary input ------------------------------------------------------------------------------------------------

CELLS = st.sampled_from(
    [*FIELDS, "var", "tag", "tag.a", "var.b", "70b3d57ed0000001", "70b3d57ed0000002", "26011bda", A, B, "1.1", "a=1"]
) | st.text(max_size=6)  # fmt: skip


@st.composite
def spreadsheets(draw):
    output = io.StringIO()
    delimiter, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    writer = csv.writer(output, delimiter=delimiter, lineterminator=end)
    header = draw(st.permutations(FIELDS)) if draw(st.booleans()) else draw(st.lists(CELLS, max_size=6))
    writer.writerow(header)
    writer.writerows(draw(st.lists(st.lists(CELLS, max_size=8), max_size=4)))
    return output.getvalue().encode("utf-8", "surrogatepass")


@settings(deadline=None, max_examples=300)
@given(spreadsheets() | st.binary(max_size=80) | st.text(max_size=80).map(lambda text: f"{HEADER}\n{text}".encode()))
@example(b'dev_eui,name\n"')
def test_any_bytes_are_devices_or_problems_with_lines(content):
    try:
        devices = _read(content)
    except SettingsError as error:
        lines = [problem.line for problem in error.problems]
        shown = [str(problem) for problem in error.problems]
    else:
        lines, shown = [1] * len(devices), [entry.device.name for entry in devices]
    assert lines
    assert lines == sorted(lines)
    assert lines[0] >= 1
    assert lines[-1] <= 1 + sum(map(content.count, (b"\n", b"\r")))
    assert not [text for text in shown if any(character in text for character in "\n\r\x1b\x00")]


NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
WORDS = st.text("abcXYZ019._-é", min_size=1, max_size=8)
KEYS = st.binary(min_size=16, max_size=16).map(AesKey)


@st.composite
def devices(draw):
    dev_eui = draw(st.binary(min_size=8, max_size=8).map(DevEui))
    is_1_1, joins = draw(st.booleans()), draw(st.booleans())
    version = MacVersion.V1_1_0 if is_1_1 else draw(st.sampled_from([*MacVersion][:-1]))
    device = Device(
        dev_eui, draw(NAMES), draw(st.sampled_from([None, "acme/probe"])), draw(st.sampled_from([None, "AS923-2"])),
        version, draw(st.sampled_from("AC")), draw(st.booleans()),
        draw(st.binary(min_size=8, max_size=8).map(JoinEui)) if joins else None,
        draw(st.dictionaries(WORDS, NAMES, max_size=2)), draw(st.dictionaries(WORDS, NAMES, max_size=2)),
    )  # fmt: skip
    if joins:
        return device, None, RootKeys(draw(KEYS), draw(KEYS) if is_1_1 else None)
    first = draw(KEYS)
    keys = (draw(KEYS), draw(KEYS), draw(KEYS)) if is_1_1 else (first, first, first)
    address = DevAddr(draw(st.integers(0, (1 << 32) - 1)))
    return device, Session(dev_eui, address, version, *keys, draw(KEYS), skip_f_cnt_check=device.skip_f_cnt_check), None


@settings(deadline=None, max_examples=100)
@given(st.lists(devices(), min_size=1, max_size=4, unique_by=lambda entry: entry[0].dev_eui))
def test_what_is_exported_is_imported_unchanged(entries):
    text = write_devices(describe(*entry) for entry in entries)
    assert [(entry.device, entry.session, entry.root_keys) for entry in _read(text)] == entries
