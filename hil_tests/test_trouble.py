"""What happens to a gateway on a roof: the power goes, a plug comes loose, the chip goes mad."""

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

from gateway.model import frame_id
from hil_tests.figures import Lines, Table
from hil_tests.parts import BenchTrouble, Channel

if TYPE_CHECKING:
    from hil_tests.bench import Bench
    from hil_tests.figures import Figures
    from hil_tests.measure import Measure

BACK_S = 90.0
SLACK_S = 1.0
"""Beyond the loss window: for the commit itself, and a machine that does something else too."""

TOLD_S = 30.0


class Traffic:
    """Modems that send frame after frame, until they are told to stop; what was sent, and when."""

    def __init__(self, bench: Bench, every_s: float = 0.15) -> None:
        self.sent: list[tuple[float, bytes]] = []
        self._bench, self._every_s = bench, every_s
        self._stop = threading.Event()
        self._trouble: BenchTrouble | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(at,), name=f"traffic of {station.name}")
            for at, station in enumerate(bench.stations)
        ]

    def _run(self, at: int) -> None:
        station, frequencies_hz = self._bench.stations[at], self._bench.frequencies_hz
        channel = Channel(frequencies_hz[at % len(frequencies_hz)], 7)
        while not self._stop.wait(self._every_s):
            phy = station.frame()
            try:
                _, at_s = station.send(phy, channel)
            except BenchTrouble as trouble:
                self._trouble = trouble
                return
            self.sent.append((at_s, phy))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        if self._trouble is not None:
            raise self._trouble


def test_a_power_cut_loses_nothing_that_was_promised(running: Bench, measured: Measure, figures: Figures) -> None:
    """The power is cut while devices talk: what the gateway said it has, it has; once."""
    if not measured.power_cuts:
        pytest.skip("this profile cuts no power: --measure short")
    if not running.file.is_virtual and running.power is None:
        pytest.skip("needs a relay in the gateway's supply: [power] in bench.toml")
    dice, rows, back_s, promises = random.Random(7), [], [], 0
    for cut in range(measured.power_cuts):
        with running.gateway.tail() as tail:
            assert tail.until(lambda _: True, 1)
            with Traffic(running) as traffic:
                assert tail.until(lambda readings: len(readings) >= 12, 20), "no reading has come"
                time.sleep(dice.uniform(0.1, 0.9))
                promised = {reading["record_id"]: reading["id"] for _, reading in list(tail.readings)}
                _cut(running)
                cut_s = time.monotonic()
        began_s = time.monotonic()
        _power_again(running)
        running.first_heard_again(BACK_S)
        back_s.append(time.monotonic() - began_s)
        kept = running.gateway.readings()
        by_id = {reading["record_id"]: reading["id"] for reading in kept}
        missing = promised.keys() - by_id.keys()
        twice = len(kept) - len({(reading["dev_eui"], reading["f_cnt"]) for reading in kept})
        status = running.gateway.status()
        heard_s = {frame.phy: frame.at_s for frame in running.judge.frames}
        unkept_s = [
            cut_s - heard_s[phy]
            for _, phy in traffic.sent
            if phy in heard_s and heard_s[phy] < cut_s and frame_id(phy) not in by_id.values()
        ]
        promises += len(promised)
        rows.append(
            (
                str(cut + 1), str(len(promised)), str(len(missing)), str(twice), str(len(unkept_s)),
                str(status["store"]["balance"]), f"{back_s[-1]:.1f} s",
            )
        )  # fmt: skip
        window_s = status["store"]["loss_window_ms"] / 1000
        assert all(ago_s <= window_s + SLACK_S for ago_s in unkept_s), f"kept too late: {max(unkept_s):.1f} s"
        assert not missing, f"{len(missing)} readings were promised and are gone"
        assert all(by_id[record] == frame for record, frame in promised.items())
        assert twice == 0
        assert status["store"]["balance"] == 0
    figures.fact("Promised", f"{promises} readings", f"in {measured.power_cuts} cuts")
    figures.fact("Promised and lost", 0, "none")
    figures.fact("Heard again after", f"{max(back_s):.1f} s", "worst, from power to the first frame")
    figures.show(
        Table("Cuts", ("cut", "promised", "lost", "twice", "in the window", "balance", "back"), rows,
              note="Promised: shown by tail, which shows what is durable. In the window: heard less than "
              "store.commit_interval before the cut, not kept yet, and not promised.")
    )  # fmt: skip


def test_an_unplugged_concentrator_is_told_and_comes_back(running: Bench, figures: Figures) -> None:
    """The concentrator is unplugged and plugged in again: it is told within seconds, and heard again by itself."""
    if running.usb is None:
        pytest.skip("needs a relay in the concentrator's USB supply: [usb] in bench.toml")
    before = running.gateway.status()["radio"]
    usb = running.usb
    with Traffic(running):
        pulled_s = time.monotonic()
        usb.switch(on=False)
        told = running.gateway.until(
            lambda status: (
                status["radio"]["state"] != before["state"] and status["radio"]["evidence"] != before["evidence"]
            ),
            TOLD_S,
        )
        told_s = time.monotonic() - pulled_s
        time.sleep(2)
        plugged_s = time.monotonic()
        since = len(running.judge.frames)
        usb.switch(on=True)
        frame = running.judge.next(lambda _: True, since, BACK_S)
        assert frame is not None, f"nothing is heard {BACK_S:g} s after it was plugged in again"
        back_s = frame.at_s - plugged_s
    after = running.gateway.until(lambda status: status["radio"]["state"] == "hearing", TOLD_S)
    figures.fact("Told after", f"{told_s:.1f} s", f"at most {TOLD_S:g} s")
    figures.fact("Heard again after", f"{back_s:.1f} s", f"at most {BACK_S:g} s")
    figures.show(
        Table("What it said", ("when", "state", "evidence"),
              [("before", before["state"], before["evidence"]),
               ("unplugged", told["radio"]["state"], told["radio"]["evidence"]),
               ("plugged in", after["radio"]["state"], after["radio"]["evidence"])])
    )  # fmt: skip
    assert after["radio"]["dropped"] == before["dropped"]


SECONDS_BROKEN = 30.0
ONCE = {"poison", "false-crc", "fifo-corruption", "half-packet"}
"""Faults of a moment: they cost a packet, and nothing has to be done."""


def test_each_fault_is_told_and_overcome(running: Bench, measured: Measure, figures: Figures) -> None:
    """Each way in which a concentrator breaks is noticed, named, and overcome; what reached it is delivered."""
    virtual = running.virtual
    if virtual is None:
        pytest.skip("a real concentrator is not broken on purpose; the virtual bench does it")
    if measured.name == "quick":
        pytest.skip("takes minutes: --measure short")
    rows, backs = [], {}
    for fault in virtual.faults:
        running.recover()
        base = _books(running)
        before = running.gateway.status()["radio"]
        with Traffic(running):
            broken_s = time.monotonic()
            virtual.break_(fault)
            if fault in ONCE:
                told = running.gateway.until(partial(_counted, before), SECONDS_BROKEN)
                words = _counts(before, told)
            else:
                told = running.gateway.until(partial(_differs, before), SECONDS_BROKEN)
                words = told["radio"]["evidence"].partition(": ")[2]
            told_s = time.monotonic() - broken_s
            virtual.break_("clear")
            since, mended_s = len(running.judge.frames), time.monotonic()
            frame = running.judge.next(lambda _: True, since, BACK_S)
            assert frame is not None, f"{fault}: nothing is heard again"
            backs[fault] = frame.at_s - mended_s
        running.gateway.until(lambda status: status["radio"]["state"] == "hearing", BACK_S)
        missing = _settled(running, base)
        rows.append((fault, f"{told_s:.1f} s", words, f"{backs[fault]:.1f} s", str(missing)))
        assert missing == 0, f"{fault}: {missing} frames had reached the concentrator and were not delivered"
    figures.fact("Faults", f"{len(rows)} overcome", "all")
    figures.fact("Heard again after", f"{max(backs.values()):.1f} s", "worst")
    figures.show(
        Table("Faults", ("fault", "told after", "in these words", "heard again", "undelivered"), rows,
              note="Undelivered: frames that lay in the concentrator's buffer, were not destroyed by the fault itself, "
              "and were not heard.")
    )  # fmt: skip
    figures.show(
        Lines("Heard again after the fault ended", "fault, in the order of the table", "seconds",
              {"seconds": [(at + 1, back) for at, back in enumerate(backs.values())]}, points_only=True)
    )  # fmt: skip


# --- underneath -----------------------------------------------------------------------------------------------------


def _differs(before: dict[str, Any], status: dict[str, Any]) -> bool:
    """Whether the radio's words are others than before."""
    radio = status["radio"]
    return bool(radio["state"] != before["state"] and radio["evidence"] != before["evidence"])


def _counted(before: dict[str, Any], status: dict[str, Any]) -> bool:
    """Whether something that could not be read was counted since."""
    return bool(_counts(before, status))


def _counts(before: dict[str, Any], status: dict[str, Any]) -> str:
    new = {name: count - before["input"].get(name, 0) for name, count in status["radio"]["input"].items()}
    return ", ".join(f"{count} x {name} counted" for name, count in new.items() if count > 0)


def _books(bench: Bench) -> tuple[int, int]:
    """Frames that reached the concentrator's buffer and were not destroyed there, and frames that the gateway heard.

    A simulated SX1302 tells of each; the other one has no buffer in which anything could be lost. The judge is not
    asked: what lay in the buffer while the radio was down is too old for a network server's live lane.
    """
    assert bench.virtual is not None
    stored = sum(event.get("fate") == "stored" for event in bench.virtual.happened("heard"))
    lost = sum(event["frames"] for event in bench.virtual.happened("lost"))
    return stored - lost, int(bench.gateway.status()["radio"]["heard"])


def _settled(bench: Bench, base: tuple[int, int]) -> int:
    """How many are missing, when all that is under way has had time to come."""
    if bench.library is None:
        return 0
    until_s = time.monotonic() + 5
    while True:
        reached, heard = _books(bench)
        missing = max((reached - base[0]) - (heard - base[1]), 0)  # a spoilt packet may count as heard, too
        if missing == 0 or time.monotonic() > until_s:
            return missing
        time.sleep(0.1)


def _cut(bench: Bench) -> None:
    if bench.power is not None:
        bench.power.switch(on=False)
        time.sleep(3)
    bench.gateway.kill()


def _power_again(bench: Bench) -> None:
    if bench.power is not None:
        bench.power.switch(on=True)
    until_s = time.monotonic() + 240
    while True:
        try:
            bench.restart()
        except BenchTrouble:
            if bench.power is None or time.monotonic() > until_s:
                raise
            bench.gateway.kill()
            time.sleep(2)
        else:
            return
