"""Payloads in, named quantities out: codecs of the catalogue, run in worker processes under limits.

A codec can fail, a reading cannot: whatever a codec does, `Decoder.decode` answers, at worst with a problem in words.
What holds a codec back is in `walls.py` (inside the worker) and `lane.py` (outside).
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from gateway.decoding.answer import Answer, Encoded, read_answer, read_encoded
from gateway.decoding.catalogue import Language
from gateway.decoding.lane import Lane, Limits, Outcome, Program
from gateway.decoding.patience import Patience
from gateway.decoding.standing import CodecHealth, Setup, Standing
from gateway.model import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from gateway.decoding.catalogue import Catalogue, Entry, Script
    from gateway.decoding.mapping import Rule
    from gateway.model import DevEui

PYTHON = Program("gateway.decoding.worker")

LOAD_SHARE = 5
"""How many times the processor time of a call compiling a script may take, which is done for each message: the largest
published one has 300 kB, for which a Raspberry Pi needs about 150 ms."""

FIRMWARE = "firmware"
"""The variable by which a device says which firmware it runs, where the catalogue tells several apart."""

_NOTHING = Decoded()
_NO_CODEC = "no codec is set for this device"
_STOPPED = "the gateway stopped before the codec had answered"


def javascript() -> Program | None:
    """The program that runs JavaScript; None where the engine is not installed. The daemon itself never loads it."""
    found = importlib.util.find_spec("_quickjs")
    if found is None or found.origin is None:
        return None
    setup = (("engine", str(Path(found.origin).parent)), ("load_share", LOAD_SHARE))
    return Program("gateway.decoding.js_worker", setup, shares=1 + LOAD_SHARE)


class Decoder:
    """Runs codecs. Opened with `async with`; closing waits for what is under way, then ends every worker."""

    def __init__(
        self, catalogue: Catalogue, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Decode by this catalogue. Nothing is started before a codec is needed."""
        self._catalogue = catalogue
        self._limits = limits or Limits()
        self._clock = clock
        self._places: dict[tuple[str, str, bool], _Place] = {}  # by codec and firmware, and whether for downlinks alone
        self._lanes: list[Lane] = []
        self._open = False

    async def __aenter__(self) -> Self:
        """Start taking payloads."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._open = False
        places = list(self._places.values())
        self._places.clear()
        await self._close(places)

    async def decode(
        self,
        codec: str | None,
        payload: bytes,
        f_port: int | None,
        variables: Mapping[str, str],
        heard_utc_us: int,
        dev_eui: DevEui | None = None,
    ) -> Decoded:
        """What a device's payload means. Never raises because of a codec.

        Port 0 and no port carry MAC commands only: nothing to decode, and no problem. The device's variables stand
        before the catalogue's defaults.
        """
        if not f_port:
            return _NOTHING
        heard_s = heard_utc_us / 1_000_000
        answer = await self.answer(codec, payload, f_port, variables, heard_s, dev_eui=dev_eui)
        return answer.decoded()

    async def answer(
        self,
        codec: str | None,
        payload: bytes,
        f_port: int,
        variables: Mapping[str, str],
        recv_time_s: float | None,
        *,
        dev_eui: DevEui | None = None,
    ) -> Answer:
        """The same with warnings and errors apart, as a codec's author wants them. `recv_time_s` is Unix time."""
        place = self._place(codec, variables)
        if isinstance(place, str):
            return Answer(errors=(place,))
        eui = None if dev_eui is None else str(dev_eui)
        outcome = await place.ask("decode", bytes(payload), f_port, dict(variables), recv_time_s, eui)
        return place.read(outcome, place.entry.measurements)

    async def decode_downlink(
        self,
        codec: str | None,
        payload: bytes,
        f_port: int,
        variables: Mapping[str, str],
        recv_time_s: float | None = None,
    ) -> Answer:
        """What a downlink's payload means, as the codec that made it reads it. Never raises because of a codec."""
        place = self._place(codec, variables, downlink=True)
        if isinstance(place, str):
            return Answer(errors=(place,))
        outcome = await place.ask("decode_downlink", bytes(payload), f_port, dict(variables), recv_time_s)
        return place.read(outcome, ())

    async def encode(
        self, codec: str | None, command: Mapping[str, Any], f_port: int | None, variables: Mapping[str, str]
    ) -> Encoded:
        """The downlink that the codec makes of a command (JSON values). Never raises because of a codec."""
        given = {"data": dict(command)} if f_port is None else {"data": dict(command), "fPort": f_port}
        return await self.encode_input(codec, given, variables)

    async def encode_input(self, codec: str | None, given: Mapping[str, Any], variables: Mapping[str, str]) -> Encoded:
        """The same for a whole input of `encodeDownlink`: `data`, `fPort`, and whatever else it should see."""
        place = self._place(codec, variables, downlink=True)
        if isinstance(place, str):
            return Encoded(errors=(place,))
        outcome = await place.ask("encode", dict(given), dict(variables))
        if outcome.problem is not None:
            return Encoded(errors=(outcome.problem,))
        return read_encoded(outcome.result, given.get("fPort"))

    async def reload(self, catalogue: Catalogue) -> None:
        """Decode by another catalogue from now on; return when workers of codecs that changed are gone.

        What they have under way is still answered. Codecs that did not change keep their workers.
        """
        self._catalogue = catalogue
        stale = [key for key, place in self._places.items() if catalogue.get(place.entry.name) != place.entry]
        await self._close([self._places.pop(key) for key in stale])

    def health(self) -> tuple[CodecHealth, ...]:
        """How each codec that was asked since the start does."""
        return tuple(place.lane.health(place.standing) for place in self._places.values())

    def _place(self, codec: str | None, variables: Mapping[str, str], *, downlink: bool = False) -> _Place | str:
        """Where to ask, or why nobody can be asked."""
        if codec is None:
            return _NO_CODEC
        firmware = variables.get(FIRMWARE, "")
        place = self._places.get((codec, firmware, downlink))
        if place is not None:
            if place.standing.overran and place.lane.shared:
                place.move_to(self._lane(place.program))
            return place
        if not self._open:
            return _STOPPED
        entry = self._catalogue.get(codec)
        if entry is None:
            return f"the codec {codec} is not in the catalogue"
        if downlink and entry.downlink_script is None:
            return self._place(codec, variables)
        script = entry.downlink_script if downlink else entry.speaks(firmware)
        if script is None:
            known = ", ".join(row.version for row in entry.firmware) or "none"
            return f"firmware {firmware} of {codec} is not in the catalogue, known are: {known}"
        opened = self._open_place(entry, script)
        if isinstance(opened, _Place):
            self._places[codec, firmware, downlink] = opened
        return opened

    def _open_place(self, entry: Entry, script: Script) -> _Place | str:
        program = PYTHON if script.language is Language.PYTHON else javascript()
        if program is None:
            return f"{script.path.name}: JavaScript codecs need the package quickjs-ng, which is not installed"
        try:
            source = script.read()
        except (OSError, ValueError) as error:
            return f"the codec {entry.id} cannot be read: {error}"
        setup = Setup(entry.id, script.path.name, source, entry.defaults)
        lane = self._lane(program) if program is PYTHON else self._shared_lane(program)
        return _Place(entry, program, Standing(setup, Patience(self._limits.overruns)), lane)

    def _lane(self, program: Program, *, shared: bool = False) -> Lane:
        lane = Lane(program, self._limits, self._clock, self._make_room, shared=shared)
        self._lanes.append(lane)
        return lane

    def _shared_lane(self, program: Program) -> Lane:
        """The lane with the fewest codecs of those they share."""
        lanes = [lane for lane in self._lanes if lane.shared]
        if len(lanes) < self._limits.shared:
            return self._lane(program, shared=True)
        return min(lanes, key=lambda lane: len(lane.codecs))

    def _make_room(self) -> None:
        """Let the codecs rest that were not asked for longest, when there are as many workers as there may be."""
        living = [lane for lane in self._lanes if lane.alive]
        if len(living) >= self._limits.workers:
            idle = [lane for lane in living if not lane.busy]
            if idle:
                min(idle, key=lambda lane: lane.used_s).rest()

    async def _close(self, places: list[_Place]) -> None:
        """Let go of codecs, and of lanes that have none any more."""
        leaving = [place.lane.leave(place.standing) for place in places]
        try:
            async with asyncio.timeout(self._limits.start_s):
                await asyncio.gather(*leaving)
        except TimeoutError:
            for place in places:
                place.lane.abandon(_STOPPED)
            await asyncio.gather(*(place.lane.leave(place.standing) for place in places))
        unused = [lane for lane in self._lanes if not lane.codecs]
        self._lanes = [lane for lane in self._lanes if lane.codecs]
        await asyncio.gather(*(lane.close() for lane in unused))


class _Place:
    """A codec in use: the entry it was opened by, how it behaves, and the lane it is asked in."""

    __slots__ = ("entry", "lane", "program", "standing")

    def __init__(self, entry: Entry, program: Program, standing: Standing, lane: Lane) -> None:
        self.entry = entry
        self.program = program
        self.standing = standing
        self.lane = lane
        lane.codecs.add(standing)

    def move_to(self, lane: Lane) -> None:
        """Ask in another lane from now on. What was asked before is answered where it was."""
        self.lane.codecs.discard(self.standing)
        self.lane = lane
        lane.codecs.add(self.standing)

    async def ask(self, verb: str, *arguments: Any) -> Outcome:
        return await self.lane.ask(self.standing, verb, *arguments)

    def read(self, outcome: Outcome, rules: Sequence[Rule]) -> Answer:
        if outcome.problem is not None:
            return Answer(self.entry.id, errors=(outcome.problem,))
        return read_answer(self.entry.id, outcome.result, outcome.brackets, rules)
