"""The registry: what people enter, all or nothing, and how a daemon follows it."""

from __future__ import annotations

import sqlite3

import pytest
from readings import KEY, device, session

from gateway.errors import StorageError
from gateway.model import AesKey, DevAddr, DevEui, RootKeys
from gateway.store.devices import DeviceExists, DeviceRegistry, DeviceUnknown, NewDevice
from gateway.store.known import KnownDevices, Sighting


@pytest.fixture
def registry(tmp_path):
    with DeviceRegistry.open(tmp_path) as opened:
        yield opened


def test_what_was_entered_comes_back(registry):
    entered = device(1, tags={"kind": "glass"}, variables={"depth": "1500"})
    registry.add(entered, session=session(1, f_cnt_up=7))
    row = registry.get(entered.dev_eui)
    assert row.device == entered
    assert (row.session.f_cnt_up, row.session.app_s_key, row.has_root_keys) == (7, KEY, False)


def test_root_keys_are_kept_apart_from_what_is_listed(registry):
    keys = RootKeys(AesKey(b"a" * 16), AesKey(b"n" * 16))
    registry.add(device(1), root_keys=keys)
    assert registry.root_keys(DevEui(bytes(7) + b"\x01")) == keys
    assert registry.get(DevEui(bytes(7) + b"\x01")).has_root_keys
    assert keys.app_key.hex() not in repr(registry.list())


def test_an_import_with_one_known_device_enters_nothing(registry):
    registry.add(device(3))
    with pytest.raises(DeviceExists, match="0000000000000003"):
        registry.add_all([NewDevice(device(1)), NewDevice(device(3))])
    assert [row.device.name for row in registry.list()] == ["device 3"]


def test_an_unknown_device_is_named(registry):
    for act in (registry.get, registry.remove, registry.root_keys):
        with pytest.raises(DeviceUnknown, match="0000000000000009"):
            act(DevEui(bytes(7) + b"\x09"))
    with pytest.raises(DeviceUnknown):
        registry.replace(device(9))


def test_the_file_with_keys_is_for_its_owner_alone(registry, tmp_path):
    registry.add(device(1), session=session(1))
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("devices.sqlite3*")} == {0}


def test_changes_are_followed_by_revision(registry):
    registry.add(device(1), session=session(1))
    registry.add(device(2), session=session(2))
    seen = registry.revision()
    registry.replace(device(1, name="renamed"))
    registry.remove(device(2).dev_eui)
    registry.add(device(3))
    registry.remove(device(3).dev_eui)
    registry.add(device(3, name="again"))
    rows, gone = registry.changes(seen)
    assert {row.device.name for row in rows} == {"renamed", "again"}
    assert gone == [device(2).dev_eui]


def test_a_checkpoint_is_no_change_by_a_person(registry):
    registry.add(device(1), session=session(1))
    seen = registry.revision()
    registry.checkpoint("e", 5, {1: Sighting(99, b"mic!", 1_000, 80.0)}.items())
    row = registry.get(device(1).dev_eui)
    assert (row.f_cnt_up, row.last_seen_utc_us, row.battery) == (99, 1_000, 80.0)
    assert registry.revision() == seen
    assert (registry.checkpointed("e"), registry.checkpointed("other")) == (5, 0)


def test_a_newer_format_is_refused_unchanged(tmp_path):
    DeviceRegistry.open(tmp_path).close()
    with sqlite3.connect(tmp_path / "devices.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="format 99"):
        DeviceRegistry.open(tmp_path)


def test_a_file_that_is_no_database_is_told_by_its_name(tmp_path):
    (tmp_path / "devices.sqlite3").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match=r"devices\.sqlite3"):
        DeviceRegistry.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="data folder"):
        DeviceRegistry.open(tmp_path / "file" / "data")


# --- the same facts in memory


def rows(registry):
    return registry.list()


def test_devices_that_share_an_address_are_all_candidates(registry):
    for number in (1, 2, 3):
        registry.add(device(number), session=session(number, dev_addr=0x26011BDA))
    known = KnownDevices()
    known.remember(registry.list())
    found = known.candidates(DevAddr(0x26011BDA))
    assert {candidate.dev_eui for candidate, _ in found} == {device(number).dev_eui for number in (1, 2, 3)}
    assert known.candidates(DevAddr(1)) == ()
    known.forget([device(2).dev_eui])
    assert len(known.candidates(DevAddr(0x26011BDA))) == 2
    assert known.devices == 2


def test_an_accepted_counter_is_what_the_next_frame_is_judged_by_also_after_others_pushed_it_out(registry):
    registry.add_all([NewDevice(device(number), session(number)) for number in range(1, 5_001)])
    known = KnownDevices()
    known.remember(registry.list())
    found, current = known.candidates(DevAddr(1))[0]
    from dataclasses import replace

    known.accept(found, replace(current, f_cnt_up=12, last_mic=b"mic!"))
    assert known.candidates(DevAddr(1))[0][1].f_cnt_up == 12
    for number in range(2, 5_001):
        known.candidates(DevAddr(number))
    assert known.candidates(DevAddr(1))[0][1].f_cnt_up == 12
    assert known.candidates(DevAddr(1))[0][1].last_mic == b"mic!"


def test_a_changed_device_keeps_its_newest_counter(registry):
    registry.add(device(1), session=session(1))
    known = KnownDevices()
    known.remember(registry.list())
    found, current = known.candidates(DevAddr(1))[0]
    from dataclasses import replace

    known.accept(found, replace(current, f_cnt_up=500))
    registry.replace(device(1, name="renamed"))
    changed, gone = registry.changes(1)
    known.forget([*gone, *(row.device.dev_eui for row in changed)])
    known.remember(changed)
    renamed, judged_by = known.candidates(DevAddr(1))[0]
    assert (renamed.name, judged_by.f_cnt_up) == ("renamed", 500)
