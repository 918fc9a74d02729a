"""What the drain loop asks of a place that gets readings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from gateway.delivery.command_door import CommandDesk, Doorkeeper
    from gateway.model import DevEui, Happening, Record, Stamp


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record the destination will never take, and its reason. Everything else counts as acknowledged."""

    position: int
    reason: str


class SinkUnavailable(Exception):  # noqa: N818 - a state, not a fault of ours
    """The destination cannot be reached or did not answer: wait and send again.

    `acknowledged` are the positions of the batch that it did confirm before. `retry_after_s` is its own wish, when it
    has one; `alert` marks what a person must mend (wrong password, certificate): retried slowly, never given up.
    """

    def __init__(
        self,
        reason: str,
        *,
        acknowledged: Sequence[int] = (),
        retry_after_s: float | None = None,
        alert: bool = False,
    ) -> None:
        super().__init__(reason)
        self.acknowledged = tuple(acknowledged)
        self.retry_after_s = retry_after_s
        self.alert = alert


class Link(Protocol):
    """An open connection to a destination."""

    async def deliver(self, batch: Sequence[Record]) -> Sequence[Refusal]:
        """Send the batch (at most `in_flight` records, positions ascending) until each is confirmed or refused.

        Raises SinkUnavailable when that cannot be known; the records not named as acknowledged are sent again.
        """
        ...

    async def announce(self, topic: str, facts: Mapping[str, Any], *, retain: bool = False) -> None:
        """Publish facts of the gateway itself ("status", "balance") where the destination has a place for it."""
        ...

    async def lost(self) -> str:
        """Return, with the reason, once the connection is gone."""
        ...


@runtime_checkable
class AskingLink(Link, Protocol):
    """A link over which the destination asks for downlinks."""

    def downlinks(self) -> AsyncIterator[tuple[DevEui | str, bytes]]:
        """What is asked for, as it comes: for which device (or its name), and the request in our own JSON, unread.

        SinkUnavailable when the connection ends; it ends by itself when the destination lets nobody ask.
        """
        ...


@runtime_checkable
class ForgetfulSink(Protocol):
    """A destination that keeps something of devices on this machine, in files or in memory."""

    async def forget(self, dev_eui: DevEui) -> Mapping[str, int]:
        """Erase what is kept here of a device; how many lines each file was rid of. OSError when the disk refuses."""
        ...


@runtime_checkable
class KeepingSink(ForgetfulSink, Protocol):
    """One whose destination is on this machine itself."""

    async def kept(self, dev_eui: DevEui) -> Mapping[str, int]:
        """What `forget` would erase: lines by file."""
        ...


@runtime_checkable
class CommandedSink(Protocol):
    """A destination that may ask for downlinks over HTTP."""

    def doorkeeper(self) -> Doorkeeper | None:
        """Who answers for it at the gateway's door; None when nobody may knock there."""
        ...

    def obey(self, desk: CommandDesk, now: Callable[[], Stamp]) -> None:
        """This is where it may ask."""
        ...


@runtime_checkable
class TellingLink(Link, Protocol):
    """A link whose destination has words of its own for what happens to devices."""

    async def report(self, happening: Happening) -> None:
        """Tell it; the same has been announced as facts where it has a place for them. SinkUnavailable at the end."""
        ...


class Sink(Protocol):
    """A destination. `connect` may be called again after the connection was lost."""

    name: str

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Open a connection; SinkUnavailable when it cannot be had."""
        ...
