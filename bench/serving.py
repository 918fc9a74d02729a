"""What the network side costs, in microseconds: frames of a crowded address, joins, the MAC layer of one device."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

from bench.figures import heading, show
from bench.parts import STAMP, each_us
from gateway.lorawan.crypto import KeySchedule, KeySchedules, join_mic
from gateway.lorawan.downlink import seal_downlink
from gateway.lorawan.frame import DataFrame, JoinRequest
from gateway.lorawan.join import Joined, JoinHistory, JoinTerms, answer_join
from gateway.lorawan.mac import answer, heard
from gateway.lorawan.mac_state import MacState, initial
from gateway.lorawan.network import Network
from gateway.lorawan.requests import wanted_by
from gateway.lorawan.uplink import seal
from gateway.model import (
    AesKey,
    Crc,
    DevAddr,
    DevEui,
    Device,
    JoinEui,
    Lora,
    MacVersion,
    OpenedUplink,
    RadioFrame,
    Refused,
    RootKeys,
    Session,
)
from gateway.regions.eu868 import EU868

_ADDRESS = DevAddr(0x26011BDA)


def run() -> None:
    """Print them."""
    heading("the network side, microseconds each")
    for version in (MacVersion.V1_0_4, MacVersion.V1_1_0):
        for sessions in (1, 10, 1_000):
            show(f"frame of {version}, one of {sessions} on its address", f"{opening_us(sessions, version):.1f} us")
        show(f"frame of a stranger, {version}, 1000 on its address", f"{stranger_us(1_000, version):.0f} us")
        show(f"join of {version}: request to accept", f"{join_us(version):.0f} us")
    mac_us()


def opening_us(sessions: int, version: MacVersion) -> float:
    """Microseconds to read and open a frame of any of so many sessions with one DevAddr."""
    network, crowd = Network(EU868), _crowd(sessions, version)
    frames = cycle([_frame(_next(session)) for _, session in crowd[:: max(1, sessions // 20)]])

    def opened() -> None:
        frame = next(frames)
        message = network.read(frame)
        assert isinstance(message, DataFrame)
        uplink = network.open(frame, message, crowd)
        assert isinstance(uplink, OpenedUplink)
        network.withdraw(uplink)

    return each_us(opened, 2_000 if sessions < 100 else 100)


def stranger_us(sessions: int, version: MacVersion) -> float:
    """Microseconds until it is clear that none of so many sessions made a frame with their DevAddr."""
    network, crowd = Network(EU868), _crowd(sessions, version)
    _, stranger = _crowd(sessions + 1, version)[-1]
    frame = _frame(_next(stranger))

    def refused() -> None:
        message = network.read(frame)
        assert isinstance(message, DataFrame)
        assert isinstance(network.open(frame, message, crowd), Refused)

    return each_us(refused, 5)


def join_us(version: MacVersion) -> float:
    """Microseconds from a join-request to the accept and the session; what has to be on disk before is not counted."""
    join_eui, dev_eui = JoinEui(b"j" * 8), DevEui(b"d" * 8)
    root = RootKeys(AesKey(b"a" * 16), AesKey(b"n" * 16) if version.is_1_1 else None)
    key = root.nwk_key or root.app_key
    unsigned = JoinRequest(join_eui, dev_eui, 7, bytes(4)).unsigned()
    request = JoinRequest(join_eui, dev_eui, 7, join_mic(KeySchedule(key), unsigned))
    device = Device(dev_eui, "bench", mac_version=version)
    terms, history = JoinTerms(0, _ADDRESS, EU868.rx2.data_rate), JoinHistory()

    def joined() -> None:
        assert isinstance(answer_join(request, device, root, history, terms), Joined)

    return each_us(joined, 500)


def mac_us() -> None:
    """Print what a device's MAC layer costs: an uplink, its answer, the frame, the state as text."""
    ((device, session),) = _crowd(1, MacVersion.V1_0_4)
    network, wanted, base = Network(EU868), wanted_by(EU868), initial(EU868)
    frame = _frame(_next(session))
    message = network.read(frame)
    assert isinstance(message, DataFrame)
    uplink = network.open(frame, message, [(device, session)])
    assert isinstance(uplink, OpenedUplink)
    state = base
    for f_cnt in range(20):
        state = heard(state, replace(uplink, f_cnt=f_cnt), EU868, wanted, base).state
    said, text, keys = heard(state, uplink, EU868, wanted, base), state.to_json(), KeySchedules()
    show("what an uplink changes", f"{each_us(lambda: heard(state, uplink, EU868, wanted, base), 2_000):.1f} us")
    show("what its answer says", f"{each_us(lambda: answer(said, EU868, wanted), 2_000):.1f} us")
    sealed = each_us(lambda: seal_downlink(session, f_cnt=1, f_port=1, payload=b"12345678", schedules=keys), 2_000)
    show("a downlink sealed", f"{sealed:.1f} us")
    show("a state to text", f"{each_us(state.to_json, 2_000):.1f} us", beside=f"{len(text)} bytes")
    show("a state from text", f"{each_us(lambda: MacState.from_json(text), 2_000):.1f} us")


def _crowd(sessions: int, version: MacVersion) -> list[tuple[Device, Session]]:
    """Devices that share one address, each at a counter of its own."""
    crowd = []
    for number in range(sessions):
        keys = [AesKey(number.to_bytes(15, "big") + bytes((which,))) for which in range(4)]
        if not version.is_1_1:
            keys[1] = keys[2] = keys[0]
        eui = DevEui(number.to_bytes(8, "big"))
        session = Session(eui, _ADDRESS, version, *keys, session_id=number, f_cnt_up=number * 7_919 % 60_000)
        crowd.append((Device(eui, f"device {number}", mac_version=version), session))
    return crowd


def _next(session: Session) -> bytes:
    assert session.f_cnt_up is not None
    return seal(session, f_cnt=session.f_cnt_up + 1, f_port=2, payload=b"12345678", adr=True, tx_dr=5)


def _frame(phy: bytes) -> RadioFrame:
    return RadioFrame(
        phy, STAMP, 868_100_000, Lora(7, 125_000), -97.0, -2.0, channel=0, rf_chain=0, counter_us=0, crc=Crc.OK,
        receiver="bench",
    )  # fmt: skip


if __name__ == "__main__":
    run()
