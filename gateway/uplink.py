"""One frame, from the antenna into the store.

Hearing is synchronous and quick: read, find whose it is, open, accept. What has to wait, a codec and a commit, waits in
a task of its own, so that no frame holds the next one; only the frames of one device keep their order.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from gateway.errors import DeviceForgotten, StorageError, StoreFull
from gateway.lorawan.device_status import status_measurements
from gateway.lorawan.frame import DataFrame, JoinRequest, RejoinRequest
from gateway.model import Decoded, OpenedUplink, Reading, Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.model import DevAddr, DevEui, Device, RadioFrame, Session
    from gateway.radio.concentrator import Concentrator

log = logging.getLogger(__name__)

CARRIED_AT_ONCE = 5_000  # a second of the line's full pace; what comes beyond waits in the radio's bounded queue
BREATH_FRAMES = 64  # then other tasks have a turn: acknowledgements, connections, the console

OWN = frozenset({Refusal.JOINED, Refusal.REPETITION, Refusal.COPY, Refusal.REPLAY})
"""Refusals of frames that only a device of ours can have made."""


class Network(Protocol):
    """Whose a frame is; `lorawan.network.Network` is the real one."""

    def read(self, frame: RadioFrame) -> Refused | DataFrame | JoinRequest | RejoinRequest: ...
    def open(
        self, frame: RadioFrame, data: DataFrame, candidates: Sequence[tuple[Device, Session]]
    ) -> Refused | OpenedUplink: ...


class Decoder(Protocol):
    """What a payload means; `decoding.sandbox.Decoder` is the real one. Answers always, at worst with a problem."""

    async def decode(
        self,
        codec: str | None,
        payload: bytes,
        f_port: int | None,
        variables: Mapping[str, str],
        heard_utc_us: int,
        dev_eui: DevEui | None = None,
    ) -> Decoded: ...


class Keeper(Protocol):
    """Where it is kept; `store.store.Store` is the real one."""

    def candidates(self, dev_addr: DevAddr) -> Sequence[tuple[Device, Session]]: ...
    def accept(self, device: Device, session: Session) -> None: ...
    def keep_uplink(self, reading: Reading, session: Session, *, soon: bool) -> asyncio.Future[int]: ...
    def keep_unopened(self, frame: RadioFrame, refused: Refused, *, wanted: bool) -> None: ...


class Server(Protocol):
    """Who answers devices; `serving.server.NetworkServer` is the real one. None of this waits."""

    async def join(self, frame: RadioFrame, request: JoinRequest | RejoinRequest) -> Refused:
        """What became of a join request: JOINED, or why not."""
        ...

    def heard(self, uplink: OpenedUplink, kept: asyncio.Future[int]) -> None:
        """A device was heard; what is acknowledged has to be kept first."""
        ...

    def heard_again(self, frame: RadioFrame, refused: Refused) -> None:
        """A frame that was accepted before came again: from another receiver, or once more from the device."""
        ...


class Onward(Protocol):
    """Where frames go on to: other people's network servers; `lns.server.Forwarding` is the real one. May not wait."""

    def heard(self, frame: RadioFrame, *, own: bool) -> bool:
        """Every frame, once; `own`: it is authentic, and of a device that this gateway serves itself.

        True when somebody may ask for it later: then it has to be kept.
        """
        ...


class Onlooker(Protocol):
    """Who watches the line go by: `tail`, the console. May not wait."""

    def opened(self, uplink: OpenedUplink) -> None: ...
    def kept(self, position: int, reading: Reading) -> None: ...
    def refused(self, frame: RadioFrame, refused: Refused) -> None: ...


class UplinkLine:
    """Carries frames for as long as the radio hears."""

    def __init__(
        self,
        radio: Concentrator,
        network: Network,
        store: Keeper,
        decoder: Decoder,
        onlooker: Onlooker,
    ) -> None:
        self._radio = radio
        self._network = network
        self._store = store
        self._decoder = decoder
        self._onlooker = onlooker
        self._server: Server | None = None
        self._onward: Onward | None = None
        self._room = asyncio.Semaphore(CARRIED_AT_ONCE)
        self._order = _DeviceOrder()
        self.taken = 0  # frames from the radio
        self.booked = 0  # frames that the store has been told of, as stored, filtered or dropped

    def answer_with(self, server: Server) -> None:
        """From now on devices are answered; without this they are only listened to."""
        self._server = server

    def forward_to(self, onward: Onward) -> None:
        """From now on whatever is heard goes on to network servers, too."""
        self._onward = onward

    async def run(self) -> None:
        """Until the radio is closed and everything heard is kept."""
        async with asyncio.TaskGroup() as carried:
            async for frame in self._radio.frames():
                self.taken += 1
                match self._hear(frame):
                    case Refused() as refused:
                        self._refuse(frame, refused)
                    case JoinRequest() | RejoinRequest() as request:
                        carried.create_task(self._join(frame, request))
                    case OpenedUplink() as uplink:
                        self._onlooker.opened(uplink)
                        self._pass_on(frame, own=True)
                        self._store.accept(uplink.device, uplink.session)
                        await self._room.acquire()
                        turn = self._order.turn(uplink.device.dev_eui)
                        carried.create_task(self._carry(uplink, turn))
                if self.taken % BREATH_FRAMES == 0:
                    await asyncio.sleep(0)

    def _hear(self, frame: RadioFrame) -> Refused | OpenedUplink | JoinRequest | RejoinRequest:
        """Whose it is and what it says, or why it goes no further."""
        message = self._network.read(frame)
        if isinstance(message, DataFrame):
            return self._network.open(frame, message, self._store.candidates(message.dev_addr))
        if self._server is None and not isinstance(message, Refused):
            return Refused(Refusal.JOIN_NOT_SERVED, "this gateway does not answer devices", dev_eui=message.dev_eui)
        return message

    def _pass_on(self, frame: RadioFrame, *, own: bool) -> bool:
        """To network servers. A device whose keys are here and that is not answered is somebody else's to serve."""
        return self._onward is not None and self._onward.heard(frame, own=own and self._server is not None)

    def _refuse(self, frame: RadioFrame, refused: Refused) -> None:
        self._onlooker.refused(frame, refused)
        wanted = self._pass_on(frame, own=refused.reason in OWN)
        self._store.keep_unopened(frame, refused, wanted=wanted)
        self.booked += 1
        if self._server is not None and refused.reason in (Refusal.COPY, Refusal.REPETITION):
            self._server.heard_again(frame, refused)

    async def _join(self, frame: RadioFrame, request: JoinRequest | RejoinRequest) -> None:
        """Have a join request judged; it is counted as what it turns out to be."""
        assert self._server is not None
        try:
            refused = await self._server.join(frame, request)
        except Exception as error:
            log.exception("the join request of %s could not be judged", request.dev_eui)
            refused = Refused(Refusal.JOIN_NOT_SERVED, f"could not be judged: {error}", dev_eui=request.dev_eui)
        self._refuse(frame, refused)

    async def _carry(self, uplink: OpenedUplink, turn: _Turn) -> None:
        """Read what it means and keep it: counter and record in one commit."""
        try:
            reading = await self._read(uplink)
            async with turn:
                soon = uplink.confirmed and self._server is not None
                kept = self._store.keep_uplink(reading, uplink.session, soon=soon)
                self.booked += 1
            if self._server is not None:
                self._server.heard(uplink, kept)
            self._onlooker.kept(await kept, reading)
        except StoreFull:
            log.debug("the reading of %s is not kept: the store is full", uplink.device.name)
        except DeviceForgotten:
            log.debug("a reading is not kept: its device was forgotten while it was read")
        except StorageError as error:  # only at a stop with a disk that refuses: until then the store holds on
            log.error("the reading of %s is lost: %s", uplink.device.name, error)  # noqa: TRY400 - no bug, no trace
        finally:
            turn.leave()
            self._room.release()

    async def _read(self, uplink: OpenedUplink) -> Reading:
        """What it means. A codec can fail, and so can what runs it; a reading cannot."""
        device = uplink.device
        try:
            decoded = await self._decoder.decode(
                device.codec,
                uplink.payload,
                uplink.f_port,
                device.variables,
                uplink.frame.heard.utc_us,
                device.dev_eui,
            )
        except Exception as error:
            log.exception("the payload of %s (%s) could not be read", device.name, device.dev_eui)
            decoded = Decoded(problem=f"the codec could not be run: {error}")
        return Reading.of(uplink, _with_status(decoded, uplink))


def _with_status(decoded: Decoded, uplink: OpenedUplink) -> Decoded:
    """With what the device says of itself beside its payload; what its codec says of the same counts more."""
    there = {measurement.quantity for measurement in decoded.measurements}
    more = [measurement for measurement in status_measurements(uplink) if measurement.quantity not in there]
    return replace(decoded, measurements=(*decoded.measurements, *more)) if more else decoded


class _Turn:
    """A place in the order of one device's frames: entered when the frame before has left."""

    __slots__ = ("_before", "_done", "_key", "_last")

    def __init__(self, last: dict[DevEui, asyncio.Future[None]], key: DevEui) -> None:
        self._last = last
        self._key = key
        self._before = last.get(key)
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        last[key] = self._done

    async def __aenter__(self) -> None:
        if self._before is not None and not self._before.done():
            await self._before

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let the next one in."""
        if not self._done.done():
            self._done.set_result(None)
        if self._last.get(self._key) is self._done:
            del self._last[self._key]


class _DeviceOrder:
    """Frames of one device are kept in the order they were heard; those of different devices do not wait."""

    def __init__(self) -> None:
        self._last: dict[DevEui, asyncio.Future[None]] = {}

    def turn(self, dev_eui: DevEui) -> _Turn:
        return _Turn(self._last, dev_eui)
