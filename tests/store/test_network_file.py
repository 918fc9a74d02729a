"""What the gateway remembers as a network, and how joined sessions stand beside entered ones."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
from readings import STAMP, device, reading, session

from gateway.errors import StorageError
from gateway.model import AesKey, DevAddr, DevEui, DownlinkState, GatewayEui, MacVersion, QueuedDownlink, RootKeys
from gateway.store.devices import DeviceRegistry
from gateway.store.network_file import FIRST_JOINED_SESSION, NetworkFile
from gateway.store.retention import Limits
from gateway.store.store import Store

EUI = GatewayEui(bytes.fromhex("0016c001ff10a235"))
ROOT = RootKeys(AesKey(b"a" * 16))
MUSEUM = DevEui((7).to_bytes(8, "big"))


@pytest.fixture
def network(tmp_path):
    with NetworkFile.open(tmp_path) as opened:
        yield opened


def queued(ref: str = "one", **changes: object) -> QueuedDownlink:
    return replace(QueuedDownlink(ref, MUSEUM, 2, b"\x01", confirmed=False, asked=STAMP, origin="command"), **changes)


# --- the file


def test_a_join_that_was_answered_is_known_after_a_start(network, tmp_path):
    kept, gone = network.keep_join(MUSEUM, "nonces", session(7, mac_version=MacVersion.V1_1_0), "state")
    assert (kept.session_id, gone) == (FIRST_JOINED_SESSION, [])
    network.close()
    with NetworkFile.open(tmp_path) as again:
        assert again.join_history(MUSEUM) == "nonces"
        assert [(one.session, one.offered) for one in again.sessions()] == [(kept, True)]
        assert again.served(kept.session_id).mac_state == "state"


def test_a_device_has_the_session_it_uses_and_the_two_newest_it_was_offered(network):
    used, _ = network.keep_join(MUSEUM, "1", session(7), "")
    assert network.taken_up(MUSEUM, used.session_id) == []
    first, second = (network.keep_join(MUSEUM, "2", session(7, dev_addr=address), "")[0] for address in (8, 9))
    third, gone = network.keep_join(MUSEUM, "3", session(7, dev_addr=10), "")
    assert gone == [(first.session_id, 8)]
    assert [(one.session.dev_addr, one.offered) for one in network.sessions_of(MUSEUM)] == [
        (7, False), (9, True), (10, True),
    ]  # fmt: skip
    assert network.taken_up(MUSEUM, second.session_id) == [(used.session_id, 7)]
    assert network.served(used.session_id).mac_state is None
    assert [one.session.session_id for one in network.sessions_of(MUSEUM)] == [second.session_id, third.session_id]


def test_a_bound_of_counters_never_falls(network):
    network.reserve(1, MUSEUM, 32, 0)
    network.reserve(1, MUSEUM, 16, 8)
    network.keep_states([(1, MUSEUM, "state")])
    served = network.served(1)
    assert (served.n_f_cnt_down, served.a_f_cnt_down, served.mac_state) == (32, 8, "state")


def test_a_removed_device_leaves_its_nonces_and_nothing_else(network):
    kept, _ = network.keep_join(MUSEUM, "nonces", session(7), "state")
    network.keep_downlinks([(1, queued())])
    network.forget([MUSEUM])
    assert network.sessions_of(MUSEUM) == []
    assert network.downlinks() == []
    assert network.served(kept.session_id).mac_state is None
    assert network.join_history(MUSEUM) == "nonces"


def test_the_queue_comes_back_in_the_order_of_asking(network):
    network.keep_downlinks([(1, queued("b")), (2, queued("a", confirmed=True, expires_after_s=60.0))])
    sent = queued("b", state=DownlinkState.SENT, reason="once", f_cnt=4, attempts=1, ended=STAMP)
    network.keep_downlinks([(1, sent)])
    assert network.downlinks() == [sent, queued("a", confirmed=True, expires_after_s=60.0)]
    network.keep_downlinks([], ["b"])
    assert [entry.ref for entry in network.downlinks()] == ["a"]


def test_the_file_with_session_keys_is_for_its_owner_alone(network, tmp_path):
    network.keep_join(MUSEUM, "nonces", session(7), "state")
    assert {path.stat().st_mode & 0o077 for path in tmp_path.glob("network.sqlite3*")} == {0}


def test_a_refused_write_changes_nothing(network):
    network.reserve(1, MUSEUM, 32, 0)
    with pytest.raises(StorageError, match=r"network\.sqlite3"):
        network.keep_states([(1, MUSEUM, object())])
    assert network.served(1).n_f_cnt_down == 32


# --- beside entered sessions


def opened(folder) -> Store:
    return Store.open(folder, EUI, commit_interval_s=0.0, limits=Limits(64 << 20, 30 * 86_400, 7 * 86_400))


async def test_a_joined_device_is_heard_after_a_start_and_after_somebody_renames_it(tmp_path):
    with DeviceRegistry.open(tmp_path) as registry:
        registry.add(device(1), session=session(1))
        registry.add(device(7), root_keys=ROOT)
    async with opened(tmp_path) as store:
        assert store.known.devices == 1
        joined = await store.keep_join(device(7), "1", session(7), "")
        assert (store.known.devices, store.known.is_offered(joined.session_id)) == (1, True)
        await store.keep_uplink(reading(3, number=7), replace(joined, f_cnt_up=3))
    async with opened(tmp_path) as store:
        [(_, found)] = store.candidates(DevAddr(7))
        assert (found.session_id, found.f_cnt_up, store.known.is_offered(found.session_id)) == (
            joined.session_id, 3, True,
        )  # fmt: skip
        await store.taken_up(device(7), joined)
        with DeviceRegistry.open(tmp_path) as registry:
            registry.replace(device(7, name="room 12"))
        await store.follow_registry()
        [(renamed, found)] = store.candidates(DevAddr(7))
        assert (renamed.name, found.f_cnt_up, store.known.devices) == ("room 12", 3, 2)
        with DeviceRegistry.open(tmp_path) as registry:
            assert registry.get(MUSEUM).last_seen_utc_us == STAMP.utc_us
            registry.remove(MUSEUM)
        await store.follow_registry()
        assert store.candidates(DevAddr(7)) == ()
        assert await store.with_network(lambda file: list(file.sessions())) == []


async def test_counters_of_joined_sessions_survive_a_start_that_had_no_stop(tmp_path):
    alive, killed = tmp_path / "alive", tmp_path / "killed"
    with DeviceRegistry.open(alive) as registry:
        registry.add(device(7), root_keys=ROOT)
    async with opened(alive) as store:
        joined = await store.keep_join(device(7), "1", session(7), "")
        for f_cnt in range(1, 4):
            await store.keep_uplink(reading(f_cnt, number=7), replace(joined, f_cnt_up=f_cnt))
        shutil.copytree(alive, killed)  # what a kill leaves: files as they are, no checkpoint
    async with opened(killed) as store:
        [(_, found)] = store.candidates(DevAddr(7))
        assert found.f_cnt_up == 3
