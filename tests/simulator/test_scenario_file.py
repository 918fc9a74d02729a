"""Scenario files: the shipped city, what follows from a seed, and mistakes."""

import math
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import SettingsError, UsageError
from gateway.model import MacVersion
from gateway.simulator.scenario_file import MAX_BYTES, load_scenario, read_scenario

SMALL = """\
[city]
name = "Village"
seed = 5

[gateway]
latitude = 43.6
longitude = 3.9

[places]
"Mairie" = [43.601, 3.901]
"Fontaine" = [43.599, 3.899]

[containers]
count = 3
interval = "15min"
name = "PAV {place} ##"
kinds = ["glass", "cardboard"]

[meters]
count = 2
places = ["Mairie"]
leaking = 1
"""


def problems_of(text):
    with pytest.raises(SettingsError) as raised:
        read_scenario(text.encode() if isinstance(text, str) else text, "village.toml")
    return [str(problem) for problem in raised.value.problems]


def changed(old, new):
    assert old in SMALL
    return SMALL.replace(old, new)


# --- what is shipped ----------------------------------------------------------------------------------------------


def test_the_shipped_city_has_all_kinds_and_somebody_elses_devices():
    residents = list(load_scenario().residents())
    codecs = [resident.device.codec for resident in residents if resident.ours]
    assert set(codecs) == {"heyliot/heywaste", "elsys/ers", "axioma/qalcosonic_w1"}
    assert 30 <= len(codecs) <= 60
    assert sum(not resident.ours for resident in residents) >= 3
    assert any(resident.nb_trans > 1 for resident in residents)
    versions = {resident.device.mac_version for resident in residents}
    assert versions == {MacVersion.V1_0_3, MacVersion.V1_1_0}


def test_every_kind_is_heard_in_the_first_seconds_of_the_demo_and_a_line_or_two_a_second_after():
    residents = [resident for resident in load_scenario().residents() if resident.ours]
    for codec in ("heyliot/heywaste", "elsys/ers", "axioma/qalcosonic_w1"):
        first_us = sorted(resident.first_us for resident in residents if resident.device.codec == codec)
        assert first_us[1] < 4_000_000, "two of a kind, should one be lost"
    assert max(resident.first_us for resident in residents) < 15_000_000
    assert 1 <= sum(1_000_000 / resident.interval_us for resident in residents) <= 2


def test_the_city_lies_where_its_map_says():
    for resident in load_scenario().residents():
        tags = resident.device.tags
        latitude, longitude = float(tags["latitude"]), float(tags["longitude"])
        assert 43.55 < latitude < 43.66
        assert 3.80 < longitude < 3.95
        # The haversine formula, to the gateway on the roof of the Musée Fabre.
        a, b = math.radians(43.6117), math.radians(latitude)
        half = (
            math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(longitude - 3.8803) / 2) ** 2
        )
        metres = 2 * 6_371_000 * math.asin(math.sqrt(half))
        assert math.hypot(resident.position.east_m, resident.position.north_m) == pytest.approx(metres, abs=5)


# --- what follows from a seed -------------------------------------------------------------------------------------


def test_names_addresses_and_keys_follow_from_the_seed():
    city = load_scenario()
    assert city.devices() == load_scenario().devices()
    other = replace(city, seed=city.seed + 1)
    for (_, session), (_, changed_session) in zip(city.devices(), other.devices(), strict=True):
        assert session.dev_addr != changed_session.dev_addr
        assert session.app_s_key != changed_session.app_s_key


def test_addresses_are_those_that_nobody_owns():
    city = load_scenario()
    devices = city.devices()
    known = {device.dev_eui for device, _ in devices}
    assert len(known) == len(devices)
    for resident in city.residents():
        dev_eui, dev_addr = resident.device.dev_eui, resident.session.dev_addr
        assert dev_eui[0] & 0b11 == 0b10, "IEEE 802: locally administered, and one device only"
        # TS002-1.1.0: NetIDs 000000 and 000001 are for experiments, their DevAddrs 00000000/7 and 02000000/7.
        assert IPv4Address(int(dev_addr)) < IPv4Address("4.0.0.0")
        assert (int(dev_addr) >> 25 == 0) is resident.ours
        assert (dev_eui in known) is resident.ours
    assert len({resident.session.dev_addr for resident in city.residents()}) == len(list(city.residents()))
    assert len({device.name for device, _ in devices}) == len(devices)


def test_a_1_1_session_has_three_network_keys_and_a_1_0_session_one():
    for device, session in load_scenario().devices():
        keys = {session.f_nwk_s_int_key, session.s_nwk_s_int_key, session.nwk_s_enc_key}
        assert len(keys) == (3 if device.mac_version is MacVersion.V1_1_0 else 1)
        assert session.app_s_key not in keys
        assert session.f_cnt_up is None


def test_names_are_numbered_within_their_place_and_tags_say_the_kind():
    devices = [device for device, _ in read_scenario(SMALL.encode(), "village.toml").devices()]
    first, second, third, *meters = [device.name for device in devices]
    number = int(first.removeprefix("PAV Mairie "))
    assert first == f"PAV Mairie {number:02d}"
    assert second.startswith("PAV Fontaine ")
    assert third == f"PAV Mairie {number + 1:02d}"
    assert meters == ["Mairie 1", "Mairie 2"]
    assert [device.tags["kind"] for device in devices] == ["glass", "cardboard", "glass", "water-meter", "water-meter"]
    assert {device.tags["place"] for device in devices} == {"Mairie", "Fontaine"}


def test_as_many_as_the_file_says_leak_repeat_and_speak_1_1():
    city = load_scenario()
    groups = {group.codec: group for group in city.groups}
    residents = list(city.residents())
    for codec, group in groups.items():
        of_kind = [resident for resident in residents if resident.device.codec == codec]
        assert len(of_kind) == group.count
        assert sum(resident.nb_trans == 2 for resident in of_kind) == group.repeating
        assert sum(resident.device.mac_version.is_1_1 for resident in of_kind) == group.lorawan_1_1
    meters = [resident for resident in residents if resident.device.codec == "axioma/qalcosonic_w1"]
    statuses = [resident.sensor.measure(1_795_420_800.0, 1).payload[4] for resident in meters]
    assert Counter(statuses) == {0x30: 1, 0x00: 9}


def test_devices_stand_around_their_place():
    city = load_scenario()
    scatter_m = {place: group.scatter_m for group in city.groups for place in group.places}
    distances = []
    for resident in city.residents():
        if not resident.ours:
            continue
        place = city.places[resident.device.tags["place"]]
        north_m = (float(resident.device.tags["latitude"]) - place.latitude) * 111_195
        east_m = (float(resident.device.tags["longitude"]) - place.longitude) * 111_195 * math.cos(math.radians(43.61))
        distances.append(math.hypot(north_m, east_m) / max(scatter_m[resident.device.tags["place"]], 250))
    assert max(distances) <= 1.01
    assert max(distances) > 0.7


def test_the_first_round_takes_its_time():
    residents = list(load_scenario().residents())
    for codec in {resident.device.codec for resident in residents}:
        first_us = [resident.first_us for resident in residents if resident.device.codec == codec]
        assert first_us == sorted(set(first_us))
        assert 9_000_000 < max(first_us) < 12_000_000


def test_a_container_comes_with_its_depth_for_the_codec():
    residents = [one for one in load_scenario().residents() if one.device.codec == "heyliot/heywaste"]
    for resident in residents:
        assert resident.device.variables == {"max_measure_mm": str(resident.sensor.depth_mm)}
        assert 1000 <= resident.sensor.depth_mm <= 2500
    assert len({resident.sensor.depth_mm for resident in residents}) > 4


def test_what_a_file_does_not_say_is_as_in_real_life():
    containers, meters = read_scenario(SMALL.encode(), "village.toml").groups
    assert (containers.interval_s, meters.interval_s) == (900, 900)
    assert containers.fills_in_s == 3 * 86_400
    assert (meters.scatter_m, meters.wall_loss_db, meters.repeating, meters.lorawan_1_1) == (100, 0, 0, 0)


# --- files --------------------------------------------------------------------------------------------------------


def test_a_file_wins_over_a_shipped_scenario_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "city.toml").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    beside = (tmp_path / "city.toml").relative_to(tmp_path)
    assert load_scenario(beside).name == "Village"
    assert load_scenario(tmp_path / "city.toml").name == "Village"
    assert load_scenario().name == "Montpellier"
    (tmp_path / "city.toml").unlink()
    assert load_scenario(beside).name == "Montpellier"


def test_a_missing_scenario_names_those_there_are(tmp_path):
    with pytest.raises(UsageError, match=r"There is no scenario .*metropolis\.toml") as raised:
        load_scenario(tmp_path / "metropolis.toml")
    assert "city.toml" in raised.value.hint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[city\n", "village.toml:1 syntax is not TOML"),
        (b'[city]\nname = "x"\nname = "y"\n', "village.toml:3 syntax is not TOML"),
        (b'[city]\n\nname = "Mus\xe9e"\n', "village.toml:3 file is not UTF-8 text"),
        (b"a = " + b"[" * 20_000, "village.toml:1 syntax is nested too deeply"),
        (b"a = " + b"1" * 5_000, "village.toml:1 syntax is not TOML"),
        (b"#" * (MAX_BYTES + 1), "village.toml:1 file has more than 1 MiB"),
    ],
)
def test_what_is_no_toml_is_said_with_its_line(content, problem):
    [said] = problems_of(content)
    assert said.startswith(problem)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("count = 3", "count = -1", "14 containers.count is a whole number of 0 to 100000, not -1"),
        ("count = 3", "count = true", "14 containers.count is a whole number of 0 to 100000, not True"),
        (
            "count = 3",
            "count = 0x" + "f" * 5000,
            "14 containers.count is a whole number of 0 to 100000, not this value",
        ),
        ("count = 3\n", "", "13 containers.count is missing"),
        ('"15min"', '"15 parsecs"', "15 containers.interval is a duration such as"),
        ('"15min"', "15", "15 containers.interval is a duration such as"),
        ('"15min"', '"1ms"', "15 containers.interval is 1ms, it has to be from 1s to"),
        ("leaking = 1", "leaking = 3", "22 meters.leaking is a whole number of 0 to 2, not 3"),
        ("leaking = 1", "lekking = 1", "22 meters.lekking is not known here, did you mean leaking?"),
        ("[meters]", "[metres]", "19 metres is not known here, did you mean meters?"),
        ('["Mairie"]', '["Marie"]', "21 meters.places names 'Marie', which is not in [places], did you mean Mairie?"),
        ('["Mairie"]', "[]", "21 meters.places is a list of texts"),
        ('["glass", "cardboard"]', '"glass"', "17 containers.kinds is a list of texts"),
        ('["glass", "cardboard"]', '["a\\nb"]', "17 containers.kinds is a list of texts"),
        ('"PAV {place} ##"', '""', "16 containers.name is a line of text, not ''"),
        ('"PAV {place} ##"', '"##########"', "16 containers.name has at most 9 #"),
        ("[43.601, 3.901]", "[43.601]", "10 places.Mairie is [latitude, longitude] in degrees"),
        ("[43.601, 3.901]", "[43.601, nan]", "10 places.Mairie is [latitude, longitude] in degrees"),
        ("[43.601, 3.901]", "[90, 3.901]", "10 places.Mairie is [latitude, longitude] in degrees"),
        ('"Mairie" = [', '"Mai\\nrie" = [', "10 places.'Mai\\nrie' is no name for a place"),
        ("latitude = 43.6", "latitude = inf", "6 gateway.latitude is a number of -89 to 89, not inf"),
        ("latitude = 43.6\n", "", "5 gateway.latitude is missing"),
        ("[gateway]\nlatitude = 43.6\nlongitude = 3.9\n", "", "1 gateway is missing"),
        ("seed = 5", "seed = -5", "3 city.seed is a whole number of 0 to"),
        ("count = 3", "count = 99999", "1 file 100001 devices, at most 100000"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(old, new, problem):
    said = problems_of(changed(old, new))
    assert any(line.startswith(f"village.toml:{problem}") for line in said), said


def test_a_table_that_is_none():
    assert "village.toml:1 city is a table, not 3" in problems_of("city = 3\n" + SMALL.split("\n", 3)[3])
    said = problems_of('containers = "many"\n' + SMALL.replace("[containers]", "[containerz]"))
    assert "village.toml:1 containers is a table, not 'many'" in said


def test_places_without_a_place():
    text = SMALL.replace('"Mairie" = [43.601, 3.901]\n"Fontaine" = [43.599, 3.899]\n', "")
    assert any("places names no place" in line for line in problems_of(text))


def test_all_mistakes_come_at_once_in_the_order_of_the_file():
    text = changed("seed = 5", 'seed = "five"').replace("count = 3", "count = 3.5").replace("leaking", "lekking")
    lines = [int(line.split(":")[1].split()[0]) for line in problems_of(text)]
    assert lines == [3, 14, 22]


def test_keys_are_found_in_inline_and_dotted_tables_too():
    text = 'city = { name = "x" }\nplaces.A = [43, 3]\ngateway.latitude = 43\n\n'
    text += 'gateway.longitude = 400\nrooms.count = "a"\n'
    assert problems_of(text) == [
        "village.toml:5 gateway.longitude is a number of -180 to 180, not 400",
        "village.toml:6 rooms.count is a whole number of 0 to 100000, not 'a'",
    ]


# --- fuzz ---------------------------------------------------------------------------------------------------------


def _reads_or_says_why(content):
    try:
        scenario = read_scenario(content, "fuzz.toml")
    except SettingsError as error:
        problems = error.problems
    else:
        _lives(scenario)
        return
    assert problems
    for problem in problems:
        assert 1 <= problem.line <= content.count(b"\n") + 1
        assert str(problem).isprintable()
        assert len(problem.text) < 400


def _lives(scenario):
    groups = tuple(replace(group, count=min(group.count, 3)) for group in scenario.groups)
    for resident in replace(scenario, groups=groups).residents():
        assert resident.device.name.isprintable()
        assert resident.sensor.measure(1_795_420_800.0, 1).payload


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_fuzz_any_bytes(content):
    _reads_or_says_why(content)


scalars = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.booleans().map(lambda flag: str(flag).lower()),
    st.sampled_from(
        ['"1h"', '"0s"', '"{place} {x} ##"', "[]", "{}", "1979-05-27", '["Mairie"]', "[1, 2]", "0x7fffffff"]
    ),
    st.text(alphabet=st.characters(exclude_characters="'", exclude_categories=["Cc", "Cs"])).map(
        lambda text: f"'{text}'"
    ),
)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_fuzz_a_scenario_with_some_lines_changed(data):
    lines = SMALL.split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        key = lines[at].partition("=")[0]
        change = data.draw(st.sampled_from(["drop", "value", "twice"]))
        if change == "value" and "=" in lines[at]:
            lines[at] = f"{key}= {data.draw(scalars)}"
        elif change == "twice":
            lines.insert(at, lines[at])
        else:
            lines[at] = ""
    _reads_or_says_why("\n".join(lines).encode())
