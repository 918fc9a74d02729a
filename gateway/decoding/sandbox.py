"""Payloads in, named quantities out: codecs of the catalogue, run in worker processes under limits.

A codec can fail, a reading cannot: whatever a codec does, `Decoder.decode` answers, at worst with a problem in words.
What holds a codec back is in `walls.py` (inside the worker) and `lane.py` (outside).
"""

from __future__ import annotations

import asyncio
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from gateway.decoding.answer import Answer, Encoded, read_answer, read_encoded
from gateway.decoding.catalogue import Language
from gateway.decoding.lane import CodecHealth, Lane, Limits, Setup
from gateway.model import Decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from gateway.decoding.catalogue import Catalogue, Entry, Script
    from gateway.model import DevEui

WORKERS: Mapping[Language, str] = MappingProxyType({Language.PYTHON: "gateway.decoding.worker"})
"""The worker's program for each language that can be run."""

FIRMWARE = "firmware"
"""The variable by which a device says which firmware it runs, where the catalogue tells several apart."""

_NOTHING = Decoded()
_NO_CODEC = Answer(errors=("no codec is set for this device",))
_STOPPED = "the gateway stopped before the codec had answered"


class Decoder:
    """Runs codecs. Opened with `async with`; closing waits for what is under way, then ends every worker."""

    def __init__(
        self, catalogue: Catalogue, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Decode by this catalogue. Nothing is started before a codec is needed."""
        self._catalogue = catalogue
        self._limits = limits or Limits()
        self._clock = clock
        self._lanes: dict[tuple[str, str], _Place] = {}
        self._open = False

    async def __aenter__(self) -> Self:
        """Start taking payloads."""
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self._open = False
        lanes = [place.lane for place in self._lanes.values()]
        self._lanes.clear()
        await self._close(lanes)

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
        if codec is None:
            return _NO_CODEC
        place = self._place(codec, variables)
        if isinstance(place, str):
            return Answer(errors=(place,))
        request = (
            "decode",
            bytes(payload),
            f_port,
            dict(variables),
            recv_time_s,
            None if dev_eui is None else str(dev_eui),
        )
        outcome = await place.lane.ask(request)
        if outcome.problem is not None:
            return Answer(place.entry.id, errors=(outcome.problem,))
        return read_answer(place.entry.id, outcome.result, outcome.brackets)

    async def encode(
        self, codec: str | None, command: Mapping[str, Any], f_port: int | None, variables: Mapping[str, str]
    ) -> Encoded:
        """The downlink that the codec makes of a command (JSON values). Never raises because of a codec."""
        if codec is None:
            return Encoded(errors=_NO_CODEC.errors)
        place = self._place(codec, variables)
        if isinstance(place, str):
            return Encoded(errors=(place,))
        outcome = await place.lane.ask(("encode", dict(command), f_port, dict(variables)))
        if outcome.problem is not None:
            return Encoded(errors=(outcome.problem,))
        return read_encoded(outcome.result, f_port)

    async def reload(self, catalogue: Catalogue) -> None:
        """Decode by another catalogue from now on; return when workers of codecs that changed are gone.

        What they have under way is still answered. Codecs that did not change keep their workers.
        """
        self._catalogue = catalogue
        stale = [key for key, place in self._lanes.items() if catalogue.get(place.entry.name) != place.entry]
        await self._close([self._lanes.pop(key).lane for key in stale])

    def health(self) -> tuple[CodecHealth, ...]:
        """How each codec that was asked since the start does."""
        return tuple(place.lane.health() for place in self._lanes.values())

    def _place(self, codec: str, variables: Mapping[str, str]) -> _Place | str:
        """Where to ask, or why nobody can be asked."""
        firmware = variables.get(FIRMWARE, "")
        place = self._lanes.get((codec, firmware))
        if place is not None:
            return place
        if not self._open:
            return _STOPPED
        entry = self._catalogue.get(codec)
        if entry is None:
            return f"the codec {codec} is not in the catalogue"
        script = entry.speaks(firmware)
        if script is None:
            known = ", ".join(row.version for row in entry.firmware) or "none"
            return f"firmware {firmware} of {codec} is not in the catalogue, known are: {known}"
        return self._open_lane((codec, firmware), entry, script)

    def _open_lane(self, key: tuple[str, str], entry: Entry, script: Script) -> _Place | str:
        if script.language not in WORKERS:
            return f"{script.path.name}: JavaScript codecs come with a later version"
        try:
            source = script.read()
        except (OSError, ValueError) as error:
            return f"the codec {entry.id} cannot be read: {error}"
        setup = Setup(entry.id, WORKERS[script.language], script.path.name, source, entry.defaults)
        place = self._lanes[key] = _Place(entry, Lane(setup, self._limits, self._clock, self._make_room))
        return place

    def _make_room(self) -> None:
        """Let the codec rest that was not asked for longest, when there are as many workers as there may be."""
        living = [place.lane for place in self._lanes.values() if place.lane.alive]
        if len(living) >= self._limits.workers:
            idle = [lane for lane in living if not lane.busy]
            if idle:
                min(idle, key=lambda lane: lane.used_s).rest()

    async def _close(self, lanes: list[Lane]) -> None:
        try:
            async with asyncio.timeout(self._limits.start_s):
                await asyncio.gather(*(lane.close() for lane in lanes))
        except TimeoutError:
            for lane in lanes:
                lane.abandon(_STOPPED)
            await asyncio.gather(*(lane.close() for lane in lanes))


class _Place:
    """A codec in use: the entry it was opened by, and its lane."""

    __slots__ = ("entry", "lane")

    def __init__(self, entry: Entry, lane: Lane) -> None:
        self.entry = entry
        self.lane = lane
