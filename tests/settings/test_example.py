"""The printed settings file is never stale: every line of it validates, every key of every table is in it."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import pytest
from pydantic_core import PydanticUndefined

from gateway.settings import Settings, load, load_for_run
from gateway.settings.models import KINDS, LNS, RADIOS, SINKS, ChipSettings
from gateway.settings.values import read_duration, read_gateway_eui, read_listen, read_net_id, read_size

EXAMPLE = (resources.files("gateway.settings") / "example.toml").read_text(encoding="utf-8")
SETTING = re.compile(r"#(\[|[a-z0-9_]+ = )")
INSTEAD = re.compile(r" # instead of (\w+)$")


def _is_header(line: str) -> bool:
    return line.lstrip("#").startswith("[")


def _chosen(radio: str) -> list[str]:
    """All lines with their "#" taken away, and of the [radio] tables only one."""
    sections: list[list[str]] = [[]]
    for line in EXAMPLE.splitlines():
        bare = line[1:] if SETTING.match(line) else line
        sections += [[]] * _is_header(bare)
        sections[-1] = [*sections[-1], bare]
    return [
        line
        for section in sections
        if section[0] != "[radio]" or f'type = "{radio}"' in [line.partition("  ")[0] for line in section]
        for line in section
    ]


def _variants(lines: list[str]) -> list[str]:
    """The text without any "instead of" line, and once with those of each replaced key."""
    replaced = {found[1] for line in lines if (found := INSTEAD.search(line))}
    plain = [line for line in lines if not INSTEAD.search(line)]
    return ["\n".join(plain), *("\n".join(_with_instead(lines, key)) for key in replaced)]


def _with_instead(lines: list[str], key: str) -> list[str]:
    kept: list[str] = []
    for line in lines:
        found = INSTEAD.search(line)
        if found and found[1] == key:
            start = max(number for number, other in enumerate(kept) if _is_header(other))
            kept[start:] = [other for other in kept[start:] if not other.startswith(f"{key} = ")]
        if not found or found[1] == key:
            kept.append(line)
    return kept


@pytest.fixture
def loaded(tmp_path):
    def load_text(text: str) -> Settings:
        (tmp_path / "gateway.toml").write_text(text, encoding="utf-8")
        return load(tmp_path / "gateway.toml")

    return load_text


@pytest.mark.parametrize("radio", RADIOS)
def test_every_line_uncommented_is_valid(loaded, radio):
    texts = _variants(_chosen(radio))
    assert len(texts) == 1 + (3 if radio == "sx1302" else 2)
    for text in texts:
        found = loaded(text)
        assert found.radio.type == radio
        assert {sink.type for sink in found.sink.values()} == set(SINKS)
        assert {lns.type for lns in found.lns.values()} == set(LNS)


def test_as_printed_it_runs(tmp_path, loaded):
    path = tmp_path / "gateway.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    found = load_for_run(path)
    assert found.radio.type == "packet-forwarder"
    assert found == loaded('[radio]\ntype = "packet-forwarder"\n')


def test_every_key_of_every_table_appears():
    tables = [tomllib.loads(text) for radio in RADIOS for text in _variants(_chosen(radio))]
    for name, field in Settings.model_fields.items():
        if name not in KINDS:
            assert set(tables[0][name]) == set(field.annotation.model_fields), name
    for type_, model in RADIOS.items():
        shown = {key for table in tables if table["radio"]["type"] == type_ for key in table["radio"]}
        # The keys of a board are shown once, but for the bus: the library's example has one, the own driver's both.
        elsewhere = {"libloragw": {"usb"}, "sx1302": set(ChipSettings.model_fields) - {"usb"}}.get(type_, set())
        assert set(model.model_fields) - shown <= elsewhere, type_
    for kind in ("sink", "lns"):
        # Keys that every sink has are shown once, in the first.
        common = set.intersection(*(set(model.model_fields) for model in KINDS[kind].values()))
        login = {"username", "password_file", "token_file", "ca_file", "cert_file", "key_file"}
        first = {key for table in tables for key in next(iter(table[kind].values()))}
        assert common <= first
        for type_, model in KINDS[kind].items():
            shown = {key for table in tables for part in table[kind].values() if part["type"] == type_ for key in part}
            assert set(model.model_fields) - common - (login if kind == "sink" else set()) <= shown, type_
    assert login <= {key for table in tables for key in table["sink"]["broker"]}


READERS = {"eui": read_gateway_eui, "net_id": read_net_id, "max_size": read_size}
NO_DEFAULT_SHOWN = {"extra_channels", "rx2_data_rate", "key_file", "seed", "board", *ChipSettings.model_fields}


def test_commented_lines_show_the_defaults():
    for radio in RADIOS:
        table = tomllib.loads(_variants(_chosen(radio))[0])
        for name in ("store", "codecs", "network", "console", "radio"):
            model = RADIOS[radio] if name == "radio" else Settings.model_fields[name].annotation
            for key, value in table[name].items():
                default = model.model_fields[key].default
                if key in NO_DEFAULT_SHOWN or default is PydanticUndefined or key == "type":
                    continue
                assert _read(key, value) == _plain(default), (name, key)
    for kind in ("sink", "lns"):
        for part in table[kind].values():
            for key in ("live_first", "backlog_rate", "backlog_delay", "in_flight", "batch", "rotate", "keepalive",
                        "stat_interval", "stats_interval", "marshaler", "backlog", "insecure", "downlinks", "subject",
                        "own_devices", "stream", "create_stream", "temporal", "service_path", "entity_id"):  # fmt: skip
                if key in part:
                    default = KINDS[kind][part["type"]].model_fields[key].default
                    assert _read(key, part[key]) == _plain(default), (kind, key)


def _read(key: str, value: object) -> object:
    if key in READERS:
        return READERS[key](value)
    if key == "listen":
        return str(read_listen(value))
    try:
        return read_duration(value)
    except ValueError:
        return value


def _plain(default: object) -> object:
    if isinstance(default, tuple):
        return [_plain(item) for item in default]
    if isinstance(default, int | float | str) or hasattr(default, "total_seconds"):
        return default
    return str(default)
