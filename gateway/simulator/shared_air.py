"""A chip on an air that another process keeps, with whoever else is on it: a test bench and its modems.

The radio process speaks over a Unix socket to whoever keeps the air; each request carries the clock since boot at which
it was made, and is answered as of then. So a keeper that gets its turn late loses no microsecond: what the chip is told
40 ms ahead starts at its time, and its counter shows what it showed when it was read.

A request is one packet: a byte for what is asked, eight for the time, a body. So is an answer: a byte for how it went,
a body. What the bodies hold is written as in the pipe of the radio process (`radio.pipe`).
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.model import AtCounter, DownlinkRequest, Immediately, TxResult
from gateway.radio.chip import ChipTrouble, ChipTx, Examination, OnPps, Reset, TroubleKind, TxState, Unsent
from gateway.radio.pipe import Beat, Decoder, Heard, PipeFault, Send, Setup, encode
from gateway.simulator.real_time import boottime_us

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import GatewayEui
    from gateway.radio.chip import Chip, ChipPlan, Option, RawFrame

_Message = TypeVar("_Message", Setup, Send)

DRIVER: Final = "gateway.simulator.shared_air:open_chip"

LONGEST: Final = 1 << 17
"""Bytes of a packet: more frames than a poll can bring."""

_HEAD: Final = struct.Struct("<Bq")
_COUNTER: Final = struct.Struct("<I")


class Ask(IntEnum):
    """What is asked of a chip."""

    START = 1
    RECEIVE = 2
    SEND = 3
    SEND_NOW = 4
    ABORT = 5
    TX_STATUS = 6
    COUNTER = 7
    EXAMINE = 8
    RESET = 9
    STOP = 10
    PPS = 11
    SEND_ON_PPS = 12


class _Answer(IntEnum):
    DONE = 0
    TROUBLE = 1
    UNSENT = 2


def open_chip(options: Mapping[str, Option]) -> SharedChip:
    """The chip on the air whose socket the options name as `air`."""
    return SharedChip(str(options["air"]))


class SharedChip:
    """The driver's side: a `Chip` (see there) whose air is elsewhere."""

    def __init__(self, path: str, clock_us: Callable[[], int] = boottime_us) -> None:
        self._path = path
        self._clock_us = clock_us
        self._socket: socket.socket | None = None

    @property
    def name(self) -> str:
        """What it is."""
        return "SX1302 on a shared air"

    def start(self, plan: ChipPlan) -> None:
        """Open the socket, hear."""
        self.stop()
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            channel.connect(self._path)
        except OSError as error:
            channel.close()
            raise ChipTrouble(TroubleKind.NOT_THERE, f"{self._path} cannot be opened: {error.strerror}") from error
        self._socket = channel
        self._ask(Ask.START, encode(Setup("", plan, 0)))

    def receive(self) -> Sequence[RawFrame]:
        """What has been heard since the last call."""
        return [message.frame for message in Decoder().feed(self._ask(Ask.RECEIVE)) if isinstance(message, Heard)]

    def send(self, tx: ChipTx) -> Unsent | None:
        """Take it for its time."""
        ask = {AtCounter: Ask.SEND, Immediately: Ask.SEND_NOW, OnPps: Ask.SEND_ON_PPS}[type(tx.when)]
        start_us = tx.when.counter_us if isinstance(tx.when, AtCounter) else 0
        answer = self._ask(ask, encode(Send(0, start_us, 0, _request(tx))))
        if not answer:
            return None
        result, _, detail = answer.decode().partition(" ")
        return Unsent(TxResult(result), detail)

    def abort(self) -> None:
        """Forget what has not begun."""
        self._ask(Ask.ABORT)

    def tx_status(self) -> TxState:
        """Where the transmitter stands."""
        return TxState(self._ask(Ask.TX_STATUS)[0])

    def counter_us(self) -> int:
        """The counter, from zero at each start."""
        (counter_us,) = _COUNTER.unpack(self._ask(Ask.COUNTER))
        return int(counter_us)

    def pps_counter_us(self) -> int | None:
        """The counter at the last edge of the pulse, which comes with the seconds of the clock on the wall."""
        answer = self._ask(Ask.PPS)
        return int(_COUNTER.unpack(answer)[0]) if answer else None

    def temperature_c(self) -> float | None:
        """What the keeper of the air says."""
        return self.examine().temperature_c

    def eui(self) -> GatewayEui | None:
        """None: nobody made this chip."""
        return None

    def examine(self) -> Examination:
        """Registers as the keeper of the air wants them seen."""
        (beat,) = Decoder().feed(self._ask(Ask.EXAMINE))
        assert isinstance(beat, Beat)
        return beat.examination

    def reset(self, level: Reset) -> None:
        """Fall silent; where the air is gone, that is done already."""
        if self._socket is not None:
            with suppress(ChipTrouble):
                self._ask(Ask.RESET, bytes((level,)))
        self.stop()

    def stop(self) -> None:
        """Close what is open."""
        channel, self._socket = self._socket, None
        if channel is not None:
            channel.close()  # which stops the chip

    def _ask(self, ask: Ask, body: bytes = b"") -> bytes:
        channel = self._socket
        if channel is None:
            raise ChipTrouble(TroubleKind.NOT_THERE, f"{self._path} is not open")
        try:
            channel.send(_HEAD.pack(ask, self._clock_us()) + body)
            answer = channel.recv(LONGEST)
        except OSError as error:
            raise ChipTrouble(TroubleKind.LOST, f"{self._path} went away: {error.strerror}") from error
        if not answer:
            raise ChipTrouble(TroubleKind.LOST, f"{self._path} went away")
        if answer[0] == _Answer.TROUBLE:
            raise ChipTrouble(TroubleKind(answer[1]), answer[2:].decode())
        return answer[1:]


def _request(tx: ChipTx) -> DownlinkRequest:
    """What the pipe knows how to write; its EIRP is here what leaves the connector."""
    return DownlinkRequest(
        ref="",
        phy=tx.phy,
        receiver="",
        timing=Immediately(),
        frequency_hz=tx.frequency_hz,
        modulation=tx.modulation,
        power_dbm_eirp=tx.power_dbm,
        invert_polarity=tx.invert_polarity,
        payload_crc=tx.payload_crc,
        preamble_symbols=tx.preamble_symbols,
    )


def asked_at(packet: bytes) -> int:
    """When a request was made, by the clock since boot. PipeFault for a packet that is none."""
    if len(packet) < _HEAD.size:
        raise PipeFault(f"a request of {len(packet)} bytes")
    at_us: int = _HEAD.unpack_from(packet)[1]
    return at_us


def answered(chip: Chip, packet: bytes) -> bytes:
    """The keeper's side: the chip asked what the packet asks, and the answer as a packet. PipeFault as `asked_at`."""
    asked_at(packet)
    kind, body = packet[0], packet[_HEAD.size :]
    try:
        ask = Ask(kind)
    except ValueError:
        raise PipeFault(f"a request of kind {kind}") from None
    try:
        return _answer(chip, ask, body)
    except ChipTrouble as trouble:
        return bytes((_Answer.TROUBLE, trouble.kind)) + trouble.problem.encode()


def _answer(chip: Chip, ask: Ask, body: bytes) -> bytes:  # noqa: C901 - one case for each question
    told = b""
    match ask:
        case Ask.START:
            chip.start(_one(body, Setup).plan)
        case Ask.RECEIVE:
            told = b"".join(encode(Heard(frame, frame.counter_us, 0)) for frame in chip.receive())
        case Ask.SEND | Ask.SEND_NOW | Ask.SEND_ON_PPS:
            unsent = chip.send(_tx(_one(body, Send), ask))
            if unsent is not None:
                return bytes((_Answer.UNSENT,)) + f"{unsent.result} {unsent.detail}".encode()
        case Ask.ABORT:
            chip.abort()
        case Ask.TX_STATUS:
            told = bytes((chip.tx_status(),))
        case Ask.COUNTER:
            told = _COUNTER.pack(chip.counter_us())
        case Ask.PPS:
            pps_us = chip.pps_counter_us()
            told = b"" if pps_us is None else _COUNTER.pack(pps_us)
        case Ask.EXAMINE:
            told = encode(Beat(0, 0, 0, 0, 0, 0, 0, 0, chip.examine()))
        case Ask.RESET:
            chip.reset(Reset(body[0]) if body in {bytes((level,)) for level in Reset} else Reset.CHIP)
        case Ask.STOP:
            chip.stop()
    return bytes((_Answer.DONE,)) + told


def _one(body: bytes, kind: type[_Message]) -> _Message:
    messages = Decoder().feed(body)
    if len(messages) != 1 or not isinstance(messages[0], kind):
        raise PipeFault(f"no {kind.__name__} in a request")
    return messages[0]


def _tx(send: Send, ask: Ask) -> ChipTx:
    request = send.request
    others: Mapping[Ask, Immediately | OnPps] = {Ask.SEND_NOW: Immediately(), Ask.SEND_ON_PPS: OnPps.NEXT}
    assert isinstance(request.timing, AtCounter)
    return ChipTx(
        phy=request.phy,
        when=others.get(ask, request.timing),
        frequency_hz=request.frequency_hz,
        modulation=request.modulation,
        power_dbm=request.power_dbm_eirp,
        invert_polarity=request.invert_polarity,
        payload_crc=request.payload_crc,
        preamble_symbols=request.preamble_symbols,
    )
