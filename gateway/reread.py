"""A second look at what was kept: with the keys and codecs of today.

Frames that nobody could open are tried again, and readings whose codec failed are decoded again. What comes out is
appended as new records with the first time, frame id and payload, marked as read again, so `late`. The log itself is
the memory of what was read again: of each frame only its newest reading counts, and a frame that has a reading is not
opened a second time. That holds over every crash, because the record is its own mark, and it is bounded by the log.

One thing at a time and in slices: inside the daemon the line goes first.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.lorawan.frame import DataFrame
from gateway.model import Decoded, OpenedUplink, Reading, Refusal
from gateway.store.queries import glimpses, reading_at, readings, unopened
from gateway.store.records import decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from gateway.model import DevEui, Device, RadioFrame
    from gateway.store.queries import Place, Span
    from gateway.store.records import Glimpse
    from gateway.store.store import Store
    from gateway.uplink import Decoder, Network

MOST_AT_ONCE = 5_000  # frames or readings held in memory; more go in further rounds
FRAMES_IN_A_SLICE = 100
READINGS_IN_A_SLICE = 100  # decoded in full: three milliseconds
BREATH_FRAMES = 8  # a foreign frame under a known address costs some forty MICs, half a millisecond
UNWRITTEN = 500  # records on their way to the disk

Key = tuple[bytes, int, int]  # device, address, counter


@dataclass(slots=True)
class Outcome:
    """What a second look came to."""

    frames: int = 0  # unopened frames that were tried
    opened: int = 0  # of these, by today's keys, and no reading had them
    decoded_again: int = 0  # readings given to today's codec
    still_failing: int = 0  # of these, without success
    records: int = 0  # new records


class SecondLook:
    """One look at a span of the log. `everything`: also at readings that have no problem."""

    def __init__(
        self,
        store: Store,
        network: Network,
        decoder: Decoder,
        span: Span,
        *,
        everything: bool = False,
        told: Callable[[Mapping[str, Any]], None] = lambda _: None,
    ) -> None:
        """`network` is one of its own: it must not remember these frames when the line hears."""
        self._store = store
        self._network = network
        self._decoder = decoder
        self._span = span
        self._everything = everything
        self._told = told
        self._outcome = Outcome()
        self._raised: set[int] = set()  # sessions whose counter this look has set
        self._devices: dict[DevEui, Device | None] = {}
        self._unwritten: list[asyncio.Future[int]] = []

    async def run(self) -> dict[str, int]:
        """Look; the counts of `Outcome`. StorageError when what comes out cannot be kept."""
        await self._read_frames()
        await self._read_readings()
        await self._written()
        return asdict(self._outcome)

    # --- frames that nobody could open -------------------------------------------------------------------------------

    async def _read_frames(self) -> None:
        opened: dict[bytes, OpenedUplink] = {}  # by PHY payload: the same frame may have been heard several times
        place: Place | None = (0, 0)
        while place is not None:
            found, place = await self._store.look(partial(unopened, place=place, limit=FRAMES_IN_A_SLICE))
            for number, (reason, frame) in enumerate(found):
                uplink = None if frame.phy in opened else self._open(frame, reason)
                if uplink is not None:
                    opened[frame.phy] = uplink
                if number % BREATH_FRAMES == 0:
                    await asyncio.sleep(0)
            if len(opened) >= MOST_AT_ONCE or place is None:
                for uplink in await self._without_reading(opened):
                    await self._carry(uplink)
                opened = {}
            self._tell()

    def _open(self, frame: RadioFrame, reason: str) -> OpenedUplink | None:
        """The frame by today's keys. Whether its counter was used before is judged by the log, not by the session."""
        if not self._span.takes(self._span.dev_eui, frame.heard):
            return None
        self._outcome.frames += 1
        data = self._network.read(frame)
        if not isinstance(data, DataFrame):
            return None
        candidates = self._store.candidates(data.dev_addr)
        if reason == Refusal.REPLAY:  # its keys were known then; only a counter that is no longer checked makes it news
            candidates = [known for known in candidates if known[0].skip_f_cnt_check or known[1].skip_f_cnt_check]
        unjudged = [(device, replace(session, skip_f_cnt_check=True)) for device, session in candidates]
        uplink = self._network.open(frame, data, unjudged)
        if not isinstance(uplink, OpenedUplink) or not self._span.takes(uplink.device.dev_eui, frame.heard):
            return None
        return uplink

    async def _without_reading(self, opened: Mapping[bytes, OpenedUplink]) -> list[OpenedUplink]:
        """Those that have no reading yet: neither this frame, nor, where counters are checked, one with its counter."""
        missing = dict(opened)
        by_counter: dict[Key, bytes] = {}
        for phy, uplink in opened.items():
            key = (bytes(uplink.device.dev_eui), int(uplink.dev_addr), uplink.f_cnt)
            if uplink.device.skip_f_cnt_check:
                continue
            if key in by_counter:
                missing.pop(phy)
            else:
                by_counter[key] = phy
        if missing:
            async for seen in self._log():
                missing.pop(seen.phy, None)
                missing.pop(by_counter.get((seen.dev_eui, seen.dev_addr, seen.f_cnt), b""), None)
        self._outcome.opened += len(missing)
        return [*missing.values()]

    async def _log(self) -> AsyncIterator[Glimpse]:
        after: int | None = 0
        while after is not None:
            seen = await self._store.look(partial(glimpses, after=after, head=self._store.head))
            after = seen.through
            for _, glimpse in seen.glimpses:
                yield glimpse

    async def _carry(self, uplink: OpenedUplink) -> None:
        """Read what it means and keep it; its counter moves the session only where nothing newer has."""
        unread = Reading.of(uplink, Decoded())
        reading = replace(unread, decoded=await self._decode(uplink.device, unread), reread=True)
        known = [one for _, one in self._store.candidates(uplink.dev_addr)]
        session = next((one for one in known if one.session_id == uplink.session.session_id), None)
        if session is None or session.last_mic == reading.phy[-4:]:
            return  # removed meanwhile, or just heard again
        # A device that was heard since it was added is further on, or has started anew: its counter is not ours to set.
        ours = session.f_cnt_up is None or session.session_id in self._raised
        if ours and (session.f_cnt_up is None or uplink.f_cnt > session.f_cnt_up):
            gap = 0 if session.f_cnt_up is None else uplink.f_cnt - session.f_cnt_up - 1
            session = replace(session, f_cnt_up=uplink.f_cnt, last_mic=reading.phy[-4:])
            self._raised.add(session.session_id)
            self._store.accept(uplink.device, session)
            await self._keep(self._store.keep_uplink(replace(reading, gap_before=gap), session))
        else:
            await self._keep(self._store.keep_uplink(replace(reading, gap_before=0), None))

    # --- readings whose codec failed ---------------------------------------------------------------------------------

    async def _read_readings(self) -> None:
        end, after = self._store.head, 0
        while after < end:
            newest, after = await self._collect(after, end)
            for position in newest.values():
                await self._decode_again(position)

    async def _collect(self, after: int, end: int) -> tuple[dict[bytes, int], int]:
        """Positions of the newest reading of each frame that is worth decoding again, and where the next round begins.

        When there are too many for one round the rest is still looked at: it may hold newer readings of these.
        """
        newest: dict[bytes, int] = {}
        full_at, through = end, after
        while through < end:
            found, last = await self._store.look(
                partial(readings, after=through, head=end, span=self._span, limit=READINGS_IN_A_SLICE)
            )
            for position, reading in found:
                if reading.reread:
                    newest.pop(reading.phy, None)
                if position <= full_at and (self._everything or reading.decoded.problem is not None):
                    newest[reading.phy] = position
            through = end if last is None else last
            if len(newest) >= MOST_AT_ONCE and full_at == end:
                full_at = through
            self._tell()
        return newest, full_at

    async def _decode_again(self, position: int) -> None:
        reading = await self._store.look(partial(reading_at, position=position))
        device = None if reading is None else await self._device(reading.dev_eui)
        if reading is None or device is None:
            return
        self._outcome.decoded_again += 1
        decoded = _as_stored(reading, await self._decode(device, reading))
        if decoded is None or decoded.problem is not None:
            self._outcome.still_failing += 1
        elif decoded != reading.decoded:
            again = replace(reading, decoded=decoded, name=device.name, tags=device.tags, reread=True)
            await self._keep(self._store.keep_uplink(again, None))
        self._tell()

    async def _device(self, dev_eui: DevEui) -> Device | None:
        if dev_eui not in self._devices:
            self._devices[dev_eui] = await self._store.device(dev_eui)
        return self._devices[dev_eui]

    async def _decode(self, device: Device, reading: Reading) -> Decoded:
        heard_us = self._store.date(reading.heard).utc_us
        return await self._decoder.decode(
            device.codec, reading.payload, reading.f_port, device.variables, heard_us, device.dev_eui
        )

    # --- keeping -----------------------------------------------------------------------------------------------------

    async def _keep(self, kept: asyncio.Future[int]) -> None:
        self._unwritten.append(kept)
        if len(self._unwritten) >= UNWRITTEN:
            await self._written()

    async def _written(self) -> None:
        kept, self._unwritten = self._unwritten, []
        self._outcome.records += len(await asyncio.gather(*kept))

    def _tell(self) -> None:
        self._told(asdict(self._outcome))


def _as_stored(reading: Reading, decoded: Decoded) -> Decoded | None:
    """What the log would give back of it, so that equal means equal; None when it cannot be stored."""
    try:
        return decode(encode(replace(reading, decoded=decoded), 0)).decoded
    except (TypeError, ValueError):
        return None
