"""What the daemon asks of anything that hears and sends.

That is a chip in the radio process, another packet forwarder, or an air on a desk.

A concentrator is opened with `async with`. From then on it hears by itself into a bounded queue; if the daemon is too
slow, frames are dropped there and counted, the radio never waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from gateway.model import DownlinkRequest, RadioFrame, TxReport

QUEUE_FRAMES = 20_000
"""Frames that may wait for the line: two minutes of the 171/s a chip can physically deliver, about 20 MB."""


@dataclass(frozen=True, slots=True)
class RadioHealth:
    """How the radio is, for `status` and the console; `evidence` is a sentence for a person."""

    type: str
    state: str  # "hearing", "waiting", "silent", "failed"
    evidence: str
    heard: int = 0  # frames taken from the air since the start, dropped ones included
    dropped: int = 0  # of these, dropped because the line was full
    refused: Mapping[str, int] = field(default_factory=dict)  # input that was no frame, by reason
    receivers: tuple[Mapping[str, object], ...] = ()  # forwarders or chips behind it, facts for `status`
    airtime: tuple[Mapping[str, object], ...] = ()  # receiver, band, used_s, limit_s, left_s: the hour of each sub-band
    denied: Mapping[str, int] = field(
        default_factory=dict
    )  # downlinks refused before they reached a radio, by TxResult


class Concentrator(Protocol):
    """Hears frames and sends downlinks."""

    async def __aenter__(self) -> Self:
        """Open what it needs; RadioError with a hint when it cannot be had."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...

    def frames(self) -> AsyncIterator[RadioFrame]:
        """What is heard, in the order of hearing. One reader. Ends when the concentrator is closed."""
        ...

    def submit(self, request: DownlinkRequest) -> TxReport:
        """Take a downlink or say why not, at once. ACCEPTED is followed by one report in `outcomes`."""
        ...

    def outcomes(self) -> AsyncIterator[TxReport]:
        """What became of accepted downlinks."""
        ...

    def health(self) -> RadioHealth:
        """The state now."""
        ...
