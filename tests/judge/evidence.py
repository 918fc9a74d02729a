"""What the judge is told: what came out, what was promised, and what the gateway says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.model import Record

Key = tuple[str, int]  # a record: epoch of the store, position


@dataclass(frozen=True, slots=True)
class Arrival:
    """A reading as it came out: at a destination, or where the gateway shows what it keeps."""

    record_id: str
    frame_id: str
    dev_eui: str
    f_cnt: int
    f_port: int | None
    payload: bytes
    gap_before: int
    time_us: int
    uncertainty_ms: int | None  # None: it claims nothing
    late: bool

    @classmethod
    def of(cls, record: Record) -> Self:
        """A record on its way."""
        reading, heard = record.reading, record.reading.heard
        return cls(
            record.record_id, reading.frame_id, str(reading.dev_eui), reading.f_cnt, reading.f_port, reading.payload,
            reading.gap_before, heard.utc_us, heard.uncertainty_ms, record.late,
        )  # fmt: skip

    @classmethod
    def from_json(cls, facts: Mapping[str, Any], time_us: int) -> Self:
        """A reading in the gateway's own JSON; `time_us` is what its `time` says."""
        return cls(
            facts["record_id"], facts["id"], facts["dev_eui"], facts["f_cnt"], facts["f_port"],
            bytes.fromhex(facts["payload"]), facts["gap_before"], time_us, facts["time_uncertainty_ms"], facts["late"],
        )  # fmt: skip

    @property
    def key(self) -> Key:
        """Epoch and position."""
        _, epoch, position = self.record_id.rsplit("-", 2)
        return epoch, int(position)


@dataclass(frozen=True, slots=True)
class Terms:
    """What one destination was promised."""

    in_flight: int = 32
    lanes: int = 2  # 1: strict order
    wants: Callable[[int], bool] = lambda _: True  # which numbers are for it
    carried_within_us: int | None = None  # what is not late arrives so soon after 5 s; None: its way may be blocked


@dataclass(frozen=True, slots=True)
class Books:
    """What the gateway says of itself when everything is at rest."""

    heard: int
    stored: int
    filtered: int
    dropped: int
    balance: int
    sinks: Mapping[str, Account]
    losses: Sequence[Loss] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """What the gateway says of a destination."""

    acknowledged: int
    queued: int
    given_up: int
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Loss:
    """What the gateway says that a destination will never get of a device, because it left the store."""

    destination: str
    dev_eui: str
    counters: range
    records: int
