"""The simulated air for the radio process: the same chip among the same devices, at the pace of the clock on the wall.

What is a `Chip` to the process is here a `SimulatedChip`; its air lives as long as the process does, and goes on while
the chip is reset. A transmission is put on the air when its time comes, so that it can be aborted until then, and at
the microsecond it was asked for.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gateway.model import AtCounter, DevEui, DownlinkRequest, Fsk, Immediately, Lora, Stamp, TimeQuality
from gateway.radio.chip import ChipTrouble, Examination, OnPps, RawFrame, TroubleKind, TxState, Unsent
from gateway.radio.counter import COMPARATOR_TURN_US, TURN_US
from gateway.regions import region_named
from gateway.simulator.air import Air
from gateway.simulator.chance import Chance
from gateway.simulator.chip import START_DELAY_US, SimulatedChip, TxRefused
from gateway.simulator.devices import settle
from gateway.simulator.joiners import settle_joiners
from gateway.simulator.neighbourhood import Neighbourhood
from gateway.simulator.scenario_file import load_scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import GatewayEui, RadioFrame
    from gateway.radio.chip import ChipPlan, ChipTx, Option, Reset
    from gateway.simulator.scenario import Scenario

DRIVER: Final = "gateway.simulator.real_time:open_chip"

ANTENNA_GAIN_DBI: Final = 3.0

_COUNTER: Final = 12  # bytes of a device and its counter in the options


def options_for(
    scenario: Path, *, seed: int | None = None, f_cnt_up: Mapping[DevEui, int] | None = None
) -> Mapping[str, Option]:
    """What `open_chip` is told. Counters go in pieces that a pipe takes."""
    counters = b"".join(bytes(eui) + number.to_bytes(4, "little") for eui, number in (f_cnt_up or {}).items())
    piece = _COUNTER * 300
    pieces = {f"f_cnt_up.{at}": counters[at : at + piece] for at in range(0, len(counters), piece)}
    return {"scenario": str(scenario), "seed": seed, **pieces}


def open_chip(options: Mapping[str, Option]) -> VirtualChip:
    """The chip of the city that the options name."""
    scenario, seed = load_scenario(Path(str(options["scenario"]))), options.get("seed")
    pieces = [value for name, value in options.items() if name.startswith("f_cnt_up.")]
    counters = b"".join(piece for piece in pieces if isinstance(piece, bytes))
    f_cnt_up = {
        DevEui(counters[at : at + 8]): int.from_bytes(counters[at + 8 : at + _COUNTER], "little")
        for at in range(0, len(counters), _COUNTER)
    }
    return VirtualChip(scenario, seed=seed if isinstance(seed, int) else None, f_cnt_up=f_cnt_up)


PPS_US = 1_000_000


def boottime_us() -> int:
    """The clock since boot."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class VirtualChip:
    """A `Chip` on the air of a scenario, which begins when this is made."""

    name = "SX1302 on a simulated air"

    def __init__(
        self,
        scenario: Scenario,
        *,
        seed: int | None = None,
        f_cnt_up: Mapping[DevEui, int] | None = None,
        clock_us: Callable[[], int] = boottime_us,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._clock_us = clock_us
        self._begun_us = clock_us()
        self._pulse_us = -wall_us() % PPS_US  # of a GPS, when the wall clock shows whole seconds; on the air's clock
        self._started_us = 0
        self._at_us = 0
        self._chance = Chance(scenario.seed if seed is None else seed)
        self._air = Air(self._chance.about("air"))
        self._scenario = scenario
        self._f_cnt_up = f_cnt_up or {}
        self._chip: SimulatedChip | None = None
        self._settled = False
        self._pending: tuple[int, DownlinkRequest] | None = None  # and when it starts, on the air's clock
        self._emitting_until_us = 0

    def start(self, plan: ChipPlan) -> None:
        """Hear; the devices talk from the first start on."""
        now_us = self._now_us()
        if self._chip is not None:
            self._chip.switch(on=False)
        service = plan.service
        self._chip = SimulatedChip(
            self._air,
            self._chance.about("air"),
            name="virtual",
            clock=lambda: self._at_us,
            stamp=_undated,
            antenna_gain_dbi=ANTENNA_GAIN_DBI,
            counter_start_us=-now_us % TURN_US,
            region=region_named(plan.region),
            frequencies_hz=[channel.frequency_hz for channel in plan.channels],
            service_channel=None
            if service is None or not isinstance(service.modulation, Lora) or service.bandwidth_hz != 500_000
            else (service.frequency_hz, service.modulation),
        )
        self._pending, self._emitting_until_us = None, 0
        self._started_us = now_us
        if not self._settled:
            self._settled = True
            self._settle(self._chip)

    def _settle(self, chip: SimulatedChip) -> None:
        utc_us = time.time_ns() // 1000
        chance = self._chance
        residents, joiners = list(self._scenario.residents()), list(self._scenario.joiners())
        settle(
            residents, self._air, [chip], chance.about("devices"), start_utc_us=utc_us, f_cnt_up=dict(self._f_cnt_up)
        )
        if joiners:
            neighbourhood = Neighbourhood(self._air, chance.about("neighbourhood"))
            settle_joiners(joiners, neighbourhood, chance.about("joiners"), start_utc_us=utc_us)

    def receive(self) -> Sequence[RawFrame]:
        """What has been heard since the last call."""
        chip = self._running()
        self._put()
        self._now_us()
        return [_raw(frame) for frame in chip.receive()]

    def send(self, tx: ChipTx) -> Unsent | None:
        """Take it for its time; like the real one by the low 27 bits of the counter."""
        chip = self._running()
        request = DownlinkRequest(
            ref="",
            phy=tx.phy,
            receiver="virtual",
            timing=tx.when if isinstance(tx.when, AtCounter) else Immediately(),
            frequency_hz=tx.frequency_hz,
            modulation=tx.modulation,
            power_dbm_eirp=tx.power_dbm + ANTENNA_GAIN_DBI,
            invert_polarity=tx.invert_polarity,
            payload_crc=tx.payload_crc,
            preamble_symbols=tx.preamble_symbols,
        )
        if (refused := chip.unable(request)) is not None:
            return Unsent(refused.result, refused.detail)
        start_us = self._now_us() + START_DELAY_US
        if isinstance(tx.when, AtCounter):
            ahead_us = tx.when.counter_us - chip.counter_us() - START_DELAY_US
            start_us += ahead_us % COMPARATOR_TURN_US
        elif tx.when is OnPps.NEXT:
            start_us = self._last_pulse_us() + PPS_US + START_DELAY_US
        self._pending = start_us, request
        return None

    def abort(self) -> None:
        """Forget what has not begun. What has begun goes on to its end, which a real chip does not let it."""
        self._put()
        self._pending = None

    def tx_status(self) -> TxState:
        """Where the transmitter stands."""
        self._put()
        if self._pending is not None:
            return TxState.SCHEDULED
        return TxState.EMITTING if self._now_us() < self._emitting_until_us else TxState.FREE

    def counter_us(self) -> int:
        """The counter, from zero at each start."""
        self._now_us()
        return self._running().counter_us()

    def pps_counter_us(self) -> int | None:
        """As with a GPS whose seconds begin with those of the wall clock, as those of `simulate gps` do."""
        pulse_us, counter_us = self._last_pulse_us(), self._running().counter_us()
        return (counter_us - self._at_us + pulse_us) % TURN_US if pulse_us > self._started_us else None

    def _last_pulse_us(self) -> int:
        return self._now_us() - (self._at_us - self._pulse_us) % PPS_US

    def temperature_c(self) -> float | None:
        """A mild day."""
        return 25.0

    def eui(self) -> GatewayEui | None:
        """None: nobody made this chip."""
        return None

    def examine(self) -> Examination:
        """Registers of a chip that is well."""
        return Examination(0x10, 0, 0, agc_parity_error=False, arb_parity_error=False, temperature_c=25.0)

    def reset(self, level: Reset) -> None:  # noqa: ARG002 - both are the same to a chip of air
        """Fall silent."""
        self.stop()

    def stop(self) -> None:
        """Cut it off the antenna."""
        if self._chip is not None:
            self._chip.switch(on=False)
        self._chip, self._pending = None, None

    def _running(self) -> SimulatedChip:
        if self._chip is None:
            raise ChipTrouble(TroubleKind.NOT_THERE, "the simulated chip is not started")
        return self._chip

    def _now_us(self) -> int:
        """Now on the clock of the air, which is the chip's from here on."""
        self._at_us = self._clock_us() - self._begun_us
        return self._at_us

    def _put(self) -> None:
        """Put on the air what has begun since the air last moved."""
        if self._pending is None or self._pending[0] > self._now_us():
            return
        (start_us, request), self._pending = self._pending, None
        self._at_us = start_us - START_DELAY_US  # the chip is told in time, whenever this process got its turn
        sent = self._running().send(request)
        if isinstance(sent, TxRefused):
            raise ChipTrouble(TroubleKind.OTHER, f"the simulated chip refuses what it had taken: {sent.detail}")
        self._emitting_until_us = sent.end_us


def _raw(frame: RadioFrame) -> RawFrame:
    assert isinstance(frame.modulation, Lora | Fsk)
    return RawFrame(
        phy=frame.phy,
        counter_us=frame.counter_us,
        frequency_hz=frame.frequency_hz,
        modulation=frame.modulation,
        rssi_dbm=frame.rssi_dbm,
        snr_db=frame.snr_db,
        channel=frame.channel,
        rf_chain=frame.rf_chain,
        crc=frame.crc,
        frequency_offset_hz=frame.frequency_offset_hz,
    )


_NOBODY_ASKS: Final = Stamp(0, TimeQuality.UNSYNCED, None, "", 0)


def _undated() -> Stamp:
    """The frames of a chip have no date."""
    return _NOBODY_ASKS
