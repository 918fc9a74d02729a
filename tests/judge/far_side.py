"""What can be wrong beyond the gateway's network socket: a road in every weather, and a broker in every mood.

Store sheet, T-50 (backhaul profiles), T-51 (brokers that lie) and T-56 (one destination dead while others live).
"""

from __future__ import annotations

import asyncio
import contextlib
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Self

from delivery.lying_broker import HANG_UP, LyingBroker, connack, puback
from rooftop import arrival

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from brokers import Mosquitto
    from delivery.lying_broker import Bytes, Publish
    from fleet import Fleet
    from rooftop import Rooftop


SHARE_RESTARTED = 0.2


class Weather(Enum):
    """How a road is: the delay of each way in seconds, and whether anything passes."""

    FINE = (0.0, True)
    CELLULAR = (0.15, True)
    SATELLITE = (0.6, True)
    SWALLOWED = (0.0, False)  # connections stay, nothing comes through
    CLOSED = (0.0, None)  # connections break, and new ones are refused


class Road:
    """The way to a broker on this machine; `port` is where it begins."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._travels: set[asyncio.Task[None]] = set()
        self._weather = Weather.FINE
        self._changed = asyncio.Event()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._travel, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._break()

    @property
    def weather(self) -> Weather:
        return self._weather

    async def becomes(self, weather: Weather) -> None:
        """From now on it is like that."""
        self._weather = weather
        self._changed.set()
        self._changed = asyncio.Event()
        if weather is Weather.CLOSED:
            await self._break()

    async def _break(self) -> None:
        for travel in self._travels:
            travel.cancel()
        await asyncio.gather(*self._travels, return_exceptions=True)

    async def _travel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._travels.add(task)
        ends = [writer]
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                if self._weather is not Weather.CLOSED:
                    there, back = await asyncio.open_connection("127.0.0.1", self._to_port)
                    ends.append(back)
                    await asyncio.wait(
                        [
                            asyncio.ensure_future(self._pass(reader, back)),
                            asyncio.ensure_future(self._pass(there, writer)),
                        ],
                        return_when=asyncio.FIRST_COMPLETED,
                    )
        finally:
            self._travels.discard(task)
            for end in ends:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                while not self._weather.value[1]:
                    await self._changed.wait()
                await asyncio.sleep(self._weather.value[0])
                writer.write(data)
                await writer.drain()


class Mood(StrEnum):
    """What a broker makes of a PUBLISH."""

    HONEST = "honest"
    WORDY = "confirms with words nobody asked for"
    SILENT = "takes it and says nothing"
    WRONG = "confirms another one"
    TWICE = "confirms twice"
    FICKLE = "confirms and hangs up"
    RUDE = "hangs up instead"
    BUSY = "has no room for the first of each dozen"
    DEAF = "does not even answer CONNECT"


class Liar:
    """A broker that is told its mood, and tells the judge what really reached it."""

    roof: Rooftop  # where it hangs; known after the settings that name its port

    def __init__(self, name: str, fleet: Fleet, *, never_takes_one_in: int) -> None:
        self.mood = Mood.HONEST
        self.broker = LyingBroker(on_connect=self._connect, on_reading=self._answer)
        self._name = name
        self._fleet = fleet
        self._never_takes_one_in = never_takes_one_in
        self._asked = 0

    def _connect(self, level: int) -> Sequence[Bytes]:
        self.roof.judge.connected(self._name)
        return () if self.mood is Mood.DEAF else connack()(level)

    def _answer(self, publish: Publish, _nth: int) -> Sequence[Bytes]:
        came = arrival(publish.payload)
        number = self._fleet.number(came.payload)
        if number is not None and number % self._never_takes_one_in == 0:
            self.roof.judge.refused(self._name, *came.key, "payload format invalid")
            return (puback(publish.packet_id, 0x99),)
        self._asked += 1
        if self.mood is Mood.BUSY and self._asked % 12 == 0:
            self.roof.judge.turned_away(self._name, *came.key)
            return (puback(publish.packet_id, 0x97),)
        self.roof.judge.received(self._name, came, self.roof.now_us)
        return self._reply(publish.packet_id)

    def _reply(self, packet_id: int) -> Sequence[Bytes]:
        match self.mood:
            case Mood.SILENT:
                return ()
            case Mood.WRONG:
                return (puback(packet_id ^ 0x4000),)
            case Mood.TWICE:
                return (puback(packet_id), puback(packet_id))
            case Mood.FICKLE:
                return (puback(packet_id), HANG_UP)
            case Mood.RUDE:
                return (HANG_UP,)
            case Mood.WORDY:
                text = b"thank you"
                return (puback(packet_id, 0x00, b"\x1f" + len(text).to_bytes(2, "big") + text),)
        return (puback(packet_id),)


async def in_full(work: Callable[[], None]) -> None:
    """Do it on a thread. Who is cancelled meanwhile goes when it is done: nothing is left half begun."""
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(doing)
    finally:
        await asyncio.wait([doing])


async def change_for_ever(road: Road, broker: Mosquitto, liar: Liar, rng: random.Random) -> None:
    """Weather and mood change, each for a second or a few; now and then the broker is started anew."""
    while True:
        await road.becomes(rng.choice(list(Weather)))
        liar.mood = rng.choice(list(Mood))
        await asyncio.sleep(rng.uniform(0.5, 4))
        if rng.random() < SHARE_RESTARTED:
            await in_full(broker.stop)
            await asyncio.sleep(rng.uniform(0, 2))
            await in_full(broker.start)
