"""What the judge says: which promise was broken, by whom, how; and figures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SHOWN = 12  # violations of one law that are told one by one


class Law(StrEnum):
    """What the gateway promises."""

    CONSERVATION = "conservation"  # promised is delivered, queued, or given up with a reason
    NO_INVENTION = "no invention"  # delivered was handed out
    IDENTITY = "identity"  # a record id names one frame for ever, and a frame is kept once
    INTEGRITY = "integrity"  # a body is the one made from its number
    DUPLICATION = "bounded duplication"  # an interruption repeats at most what was in flight
    ORDER = "order"  # counters ascend with positions, positions ascend in each lane
    LIVENESS = "liveness"  # once trouble is over, what is fresh arrives
    HONEST_TIME = "honest time"  # a time is as good as it says
    LOSS_WINDOW = "loss window"  # a kill costs only what was heard just before
    STOP = "stop"  # when told to, it stops in order and in time
    BALANCE = "balance"  # the gateway's books agree with themselves and with what was seen
    USEFULNESS = "usefulness"  # a run in which nothing happened proves nothing


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise, who broke it, and how."""

    law: Law
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.law} [{self.subject}]: {self.detail}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge found. `facts` are figures for people, and what usefulness is measured by."""

    violations: Sequence[Violation]
    facts: Mapping[str, Any]

    @property
    def clean(self) -> bool:
        """Whether every promise was kept."""
        return not self.violations

    @property
    def broken(self) -> set[Law]:
        """The promises that were not."""
        return {violation.law for violation in self.violations}

    def __str__(self) -> str:
        """For people: what was broken, a few examples of each, and the figures."""
        lines = []
        for law in Law:
            found = [violation for violation in self.violations if violation.law is law]
            lines += map(str, found[:SHOWN])
            if len(found) > SHOWN:
                lines.append(f"{law}: and {len(found) - SHOWN} more")
        lines += [f"  {name}: {value}" for name, value in self.facts.items()]
        return "\n".join(["clean" if self.clean else "BROKEN", *lines])


def spread(values: Sequence[float]) -> str:
    """A distribution in a line; `values` ascend."""
    if not values:
        return "none"
    at = {share: values[min(len(values) - 1, int(len(values) * share))] for share in (0.5, 0.9, 0.99)}
    shares = ", ".join(f"p{share * 100:.0f} {value:.0f}" for share, value in at.items())
    return f"{len(values)}: {shares}, max {values[-1]:.0f}"
