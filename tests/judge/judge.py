"""The judge: hands out frames, remembers what was promised, takes in what arrives, and says which promise was broken.

It knows no part of the gateway. It is told what somebody beside the gateway can see: a datagram acknowledged, a record
shown as durable, a reading at a destination, the gateway's own books, and when somebody pulled the plug. Its clock is
whatever the caller gives as microseconds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from verdict import Law, Verdict, Violation, spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from evidence import Account, Arrival, Books, Key, Loss, Terms
    from fleet import Fleet

LATE_AFTER_US = 5_000_000  # contract, small print: `late` is true when a record waited more than 5 s
LEARNS_WITHIN_US = 5_000_000  # the gateway looks at the machine's clock each second
STOP_WITHIN_US = 10_000_000  # contract, section 2: Ctrl-C and SIGTERM stop cleanly within 10 s


@dataclass(slots=True)
class _Destination:
    """What one destination saw."""

    name: str
    terms: Terms
    connection: int = 0
    disturbances: int = 0
    seen: dict[Key, int] = field(default_factory=dict)  # the connection of the last copy
    undated: set[Key] = field(default_factory=set)  # whose newest copy claims no time
    first: list[Key] = field(default_factory=list)  # in the order of first deliveries
    copies: int = 0
    repeated: Counter[int] = field(default_factory=Counter)  # copies by the connection whose end repeated them
    refused: dict[Key, str] = field(default_factory=dict)
    turned_away: set[Key] = field(default_factory=set)
    resent: set[Key] = field(default_factory=set)
    forgotten_through: int = -1  # the last connection that a power cut may have erased from memory
    repeated_by_cuts: int = 0
    corrections: int = 0
    waits_us: dict[int, int] = field(default_factory=dict)  # number: from hand-out to first delivery


class Judge:
    """Tell it what happens as it happens; ask for the verdict at the end."""

    def __init__(
        self,
        fleet: Fleet,
        destinations: Mapping[str, Terms],
        *,
        loss_window_us: int,
        transit_us: int,
        fresh_within_us: int,
    ) -> None:
        """`transit_us`: how long a frame may take from the judge's hand to the gateway's ear."""
        self.fleet = fleet
        self._destinations = {name: _Destination(name, terms) for name, terms in destinations.items()}
        self._loss_window_us = loss_window_us
        self._transit_us = transit_us
        self._fresh_within_us = fresh_within_us
        self._handed_us: dict[int, list[int]] = {}
        self._acknowledged_us: dict[int, int] = {}
        self._ends: list[tuple[int, bool]] = []  # when the gateway ended, and whether it was asked to
        self._frame_of: dict[Key, int] = {}
        self._record_of: dict[int, Key] = {}
        self._gaps: dict[Key, tuple[int, int]] = {}  # counter and the gap it claims
        self._promised: dict[str, int] = {}  # epoch: highest position shown as durable
        self._left: dict[str, int] = {}  # epoch: up to where records left the store for want of room
        self._unsure_since_us: int | None = None
        self._unsure_us: list[tuple[int, int]] = []  # when it did not know the time, and learnt it later
        self._dated: set[int] = set()  # those of them of which it has sent a better date
        self._calm_us: int | None = None
        self._books: Books | None = None
        self._violations: list[Violation] = []
        self._events: Counter[str] = Counter()

    # --- what is done to the gateway

    def handed_out(self, number: int, at_us: int) -> None:
        """A frame was sent; again when its device repeated it."""
        self._events["repetitions"] += number in self._handed_us
        self._handed_us.setdefault(number, []).append(at_us)

    def killed(self, at_us: int) -> None:
        """It was ended without being asked."""
        self._events["kills"] += 1
        self._ends.append((at_us, False))

    def cut_off(self, at_us: int) -> None:
        """The power went: what was promised is durable, how far destinations were may be older."""
        self._events["power cuts"] += 1
        self._ends.append((at_us, False))
        for to in self._destinations.values():
            to.forgotten_through = to.connection

    def stopped(self, at_us: int, *, took_us: int, left_behind: Sequence[str] = ()) -> None:
        """It was asked to stop, and did; or parts of it did not, and had to be ended."""
        self._events["stops"] += 1
        self._ends.append((at_us, True))
        if took_us > STOP_WITHIN_US or left_behind:
            what = f", without {', '.join(left_behind)}" if left_behind else ""
            self._break(Law.STOP, "gateway", f"it stopped after {took_us / 1e6:.1f} s{what}")

    def rebooted(self, at_us: int) -> None:
        """The machine of the gateway that has just ended was without power: it does not know the time."""
        self._events["reboots"] += 1
        self._unsure_since_us = at_us
        self._unsure_us = [(since_us, min(until_us, at_us)) for since_us, until_us in self._unsure_us]

    def learnt_time(self, at_us: int) -> None:
        """It knows the time again: what it heard before may be sent once more with a better date."""
        if self._unsure_since_us is not None:
            self._unsure_us.append((self._unsure_since_us, at_us + LEARNS_WITHIN_US))
            self._unsure_since_us = None

    def disturbed(self, destination: str) -> None:
        """The way to a destination was interfered with: it may lose its connection."""
        self._events["disturbances"] += 1
        self._destinations[destination].disturbances += 1

    def asked_again(self, destination: str, epoch: str, first: int, last: int) -> None:
        """The destination asked for a range once more."""
        self._events["asked again"] += 1
        self._destinations[destination].resent |= {(epoch, position) for position in range(first, last + 1)}

    def calm(self, at_us: int) -> None:
        """From now on nobody interferes."""
        self._calm_us = at_us

    # --- what the gateway says

    def acknowledged(self, number: int, at_us: int) -> None:
        """The gateway said that it heard the frame sent then; it owes nothing for one of which it heard the next."""
        following = self._handed_us.get(number + self.fleet.devices)
        if following is None or at_us < following[0]:
            self._acknowledged_us.setdefault(number, at_us)

    def promised(self, arrival: Arrival) -> None:
        """The gateway showed this reading as kept."""
        self._identify(arrival, "store")

    def promised_through(self, epoch: str, head: int) -> None:
        """The gateway says that its log is durable up to this position."""
        self._promised[epoch] = max(head, self._promised.get(epoch, 0))

    def left(self, epoch: str, through: int) -> None:
        """For want of room these left the store: whatever was sent of them, nothing more of them can be."""
        self._left[epoch] = max(through, self._left.get(epoch, 0))

    def rests(self, books: Books) -> None:
        """Nothing is under way any more, and these are the books."""
        self._books = books

    # --- what destinations see

    def connected(self, destination: str) -> None:
        """A new connection: what comes from here on was sent on it."""
        self._destinations[destination].connection += 1

    def received(self, destination: str, arrival: Arrival, at_us: int) -> None:
        """A reading came out."""
        number = self._identify(arrival, destination)
        if number is None:
            return
        to = self._destinations[destination]
        key = arrival.key
        self._check_late(to, number, arrival, at_us)
        if key not in to.seen:
            to.first.append(key)
            to.waits_us[number] = at_us - self._handed_us[number][0]
            if not to.terms.wants(number):
                self._break(Law.NO_INVENTION, destination, f"got frame {number}, which is not for it")
        elif key in to.undated and arrival.uncertainty_ms is not None and self._unsure(self._handed_us[number]):
            self._dated |= self._unsure(self._sent_then(number, arrival))
            to.corrections += 1
        elif key not in to.resent:
            self._take_copy(to, key)
        to.seen[key] = to.connection
        (to.undated.add if arrival.uncertainty_ms is None else to.undated.discard)(key)

    def _unsure(self, times_us: Sequence[int]) -> set[int]:
        """In which of the times when it did not know the time, and learnt it later, any of these moments lies."""
        return {
            index
            for index, (since_us, until_us) in enumerate(self._unsure_us)
            if any(since_us <= at_us <= until_us for at_us in times_us)
        }

    def _take_copy(self, to: _Destination, key: Key) -> None:
        to.copies += 1
        last_on = to.seen[key]
        if last_on == to.connection:
            what = f"got {key[0]}-{key[1]} (frame {self._frame_of[key]}) twice on one connection"
            self._break(Law.DUPLICATION, to.name, what)
        elif last_on <= to.forgotten_through:
            to.repeated_by_cuts += 1
        else:
            to.repeated[last_on] += 1

    def refused(self, destination: str, epoch: str, position: int, reason: str) -> None:
        """The destination said that it will never take this record."""
        self._destinations[destination].refused[epoch, position] = reason

    def turned_away(self, destination: str, epoch: str, position: int) -> None:
        """The destination could not take this record now: its place in the order is forfeited."""
        self._destinations[destination].turned_away.add((epoch, position))

    # --- judging what can be judged at once

    def _count(self, law: Law) -> int:
        return sum(violation.law is law for violation in self._violations)

    def _break(self, law: Law, subject: str, detail: str) -> None:
        self._violations.append(Violation(law, subject, detail))

    def _identify(self, arrival: Arrival, where: str) -> int | None:
        """Which frame this is; None, and a violation, when it is none that was handed out."""
        number = self.fleet.number(arrival.payload)
        if number is None or number not in self._handed_us:
            self._break(Law.NO_INVENTION, where, f"{arrival.record_id} says it is frame {number}, never handed out")
            return None
        key = arrival.key
        self._check_body(number, arrival, where)
        self._check_time(number, arrival, where)
        self._gaps.setdefault(key, (arrival.f_cnt, arrival.gap_before))
        if self._frame_of.setdefault(key, number) != number:
            self._break(Law.IDENTITY, where, f"{arrival.record_id} is frame {number}, was {self._frame_of[key]}")
        if self._record_of.setdefault(number, key) != key:
            self._break(Law.IDENTITY, where, f"frame {number} is {arrival.record_id}, was {self._record_of[number]}")
        return number

    def _check_body(self, number: int, arrival: Arrival, where: str) -> None:
        body = self.fleet.body(number)
        got = (arrival.dev_eui, arrival.f_cnt, arrival.f_port, arrival.payload, arrival.frame_id)
        sent = (body.dev_eui, body.f_cnt, body.f_port, body.payload, self.fleet.frame_id(number))
        if got != sent:
            self._break(Law.INTEGRITY, where, f"frame {number} is {got}, was sent as {sent}")

    def _check_time(self, number: int, arrival: Arrival, where: str) -> None:
        if arrival.uncertainty_ms is not None and not self._sent_then(number, arrival):
            early_us = min(arrival.time_us - sent_us for sent_us in self._handed_us[number])
            wrong = f"its time is {early_us / 1000:.1f} ms off and says it is good to {arrival.uncertainty_ms} ms"
            self._break(Law.HONEST_TIME, where, f"frame {number}: {wrong}")

    def _sent_then(self, number: int, arrival: Arrival) -> list[int]:
        """Which sendings of a frame it can be that was heard, by the date on it."""
        assert arrival.uncertainty_ms is not None
        allowed_us = arrival.uncertainty_ms * 1000
        return [
            sent_us
            for sent_us in self._handed_us[number]
            if -allowed_us <= arrival.time_us - sent_us <= allowed_us + self._transit_us
        ]

    def _check_late(self, to: _Destination, number: int, arrival: Arrival, at_us: int) -> None:
        longest_us, shortest_us = (at_us - self._handed_us[number][index] for index in (0, -1))
        within_us = to.terms.carried_within_us
        if arrival.late and longest_us < LATE_AFTER_US:
            self._break(Law.HONEST_TIME, to.name, f"frame {number} is called late after {longest_us / 1e6:.2f} s")
        if not arrival.late and within_us is not None and shortest_us > LATE_AFTER_US + within_us:
            self._break(Law.HONEST_TIME, to.name, f"frame {number} is not called late after {shortest_us / 1e6:.2f} s")

    # --- the verdict

    def verdict(self, *, expecting: Mapping[str, int] | None = None) -> Verdict:
        """Everything found, and the figures. `expecting`: of which fact there must have been how much."""
        before, self._violations = self._violations, []
        self._judge_loss()
        self._judge_store_order()
        for to in self._destinations.values():
            self._judge_conservation(to)
            self._judge_duplication(to)
            self._judge_order(to)
            self._judge_liveness(to)
            self._judge_dates(to)
        self._judge_books()
        facts = self._facts() | {
            "promised, to all": sum(len(self.owed(name)) for name in self._destinations),
            "promised and lost": self._count(Law.CONSERVATION),
            "order violations": self._count(Law.ORDER),
            "balance": self._books.balance if self._books else None,
        }
        for name, least in (expecting or {}).items():
            if facts.get(name, 0) < least:
                self._break(Law.USEFULNESS, "run", f"{name}: {facts.get(name, 0)}, at least {least} were meant")
        found, self._violations = self._violations, before
        return Verdict((*before, *found), facts)

    def owed(self, destination: str) -> set[Key]:
        """What was promised and has to come out at a destination."""
        wants = self._destinations[destination].terms.wants
        named = {(epoch, position) for epoch, head in self._promised.items() for position in range(1, head + 1)}
        return {key for key in named | self._frame_of.keys() if key not in self._frame_of or wants(self._frame_of[key])}

    def missing(self, destination: str) -> set[Key]:
        """What of it has not come out yet, and nobody said that it will not."""
        to = self._destinations[destination]
        left = self.owed(destination) - to.seen.keys() - to.refused.keys()
        told = {loss.dev_eui: loss.counters for loss in self._losses(to)}
        return {key for key in left if not self._is_told(key, told)} if told else left

    def _is_told(self, key: Key, told: Mapping[str, range]) -> bool:
        """Whether a record is among the losses; one that nobody ever saw may be."""
        if key not in self._frame_of:
            return True
        body = self.fleet.body(self._frame_of[key])
        return body.f_cnt in told.get(body.dev_eui, ())

    def _losses(self, to: _Destination) -> list[Loss]:
        return [loss for loss in self._books.losses if loss.destination == to.name] if self._books else []

    def waits_us(self, destination: str, *, since_us: int = 0) -> list[int]:
        """How long each frame handed out since then took to its first delivery, shortest first."""
        waits = self._destinations[destination].waits_us
        return sorted(wait for number, wait in waits.items() if self._handed_us[number][0] >= since_us)

    def _judge_conservation(self, to: _Destination) -> None:
        for key in sorted(self.missing(to.name)):
            what = f"frame {self._frame_of[key]}" if key in self._frame_of else "never seen anywhere"
            self._break(Law.CONSERVATION, to.name, f"record {key[0]}-{key[1]} was promised and is gone ({what})")

    def losses(self) -> list[tuple[int, int, int | None]]:
        """Frames acknowledged and never kept: number, when, and their age in µs at the end that took them."""
        lost = []
        for number, at_us in sorted(self._acknowledged_us.items()):
            if number in self._record_of:
                continue
            index = bisect_left(self._ends, (at_us, False))
            end_us, asked = self._ends[index] if index < len(self._ends) else (0, True)
            lost.append((number, at_us, None if asked else end_us - at_us))
        return lost

    def _judge_loss(self) -> None:
        for number, at_us, age_us in self.losses():
            if age_us is None:
                self._break(
                    Law.CONSERVATION, "line", f"frame {number}, acknowledged at {at_us}, was lost without a kill"
                )
            elif age_us > self._loss_window_us:
                self._break(
                    Law.LOSS_WINDOW, "line", f"frame {number} was lost {age_us / 1000:.0f} ms after it was heard"
                )

    def _judge_store_order(self) -> None:
        """Positions carry the counters of each device upwards, and each gap is the one that is there."""
        by_device: defaultdict[tuple[str, int], list[tuple[int, int, int]]] = defaultdict(list)
        for (epoch, position), (f_cnt, gap) in self._gaps.items():
            device = self._frame_of[epoch, position] % self.fleet.devices
            by_device[epoch, device].append((position, f_cnt, gap))
        known = sorted(self._frame_of)
        for (epoch, device), kept in by_device.items():
            for (before, low, _), (after, high, gap) in pairwise(sorted(kept)):
                if high <= low:
                    what = f"counter {high} at {after} after {low} at {before}"
                    self._break(Law.ORDER, "store", f"device {device}: {what}")
                    continue
                between = bisect_left(known, (epoch, after)) - bisect_left(known, (epoch, before))
                if gap != high - low - 1 and between == after - before:  # nothing lies between that nobody saw
                    what = f"counter {high} after {low} says that {gap} are missing"
                    self._break(Law.ORDER, "store", f"device {device}: {what}")

    def _judge_duplication(self, to: _Destination) -> None:
        for connection, copies in to.repeated.items():
            if copies > to.terms.in_flight:
                what = (
                    f"the end of connection {connection} repeated {copies} records, {to.terms.in_flight} were in flight"
                )
                self._break(Law.DUPLICATION, to.name, what)
        most = 1 + len(self._ends)
        if not to.disturbances and to.connection > most:
            self._break(Law.DUPLICATION, to.name, f"{to.connection} connections, there was reason for {most}")

    def _judge_order(self, to: _Destination) -> None:
        by_epoch: defaultdict[str, list[int]] = defaultdict(list)
        for epoch, position in to.first:
            if (epoch, position) not in to.turned_away:
                by_epoch[epoch].append(position)
        for positions in by_epoch.values():
            witness = descent(positions)
            if len(witness) > to.terms.lanes:
                what = " then ".join(map(str, witness))
                self._break(Law.ORDER, to.name, f"{what} cannot have come from {to.terms.lanes} lanes in order")

    def _judge_liveness(self, to: _Destination) -> None:
        if self._calm_us is None:
            self._break(Law.USEFULNESS, "run", "nobody waited until it was calm")
            return
        fresh = [
            (sent[0], number)
            for number, sent in self._handed_us.items()
            if sent[0] >= self._calm_us and to.terms.wants(number)
        ]
        arrived = [sent_us + to.waits_us[number] for sent_us, number in fresh if number in to.waits_us]
        if not arrived:
            self._break(Law.LIVENESS, to.name, f"nothing of {len(fresh)} fresh frames arrived")
        elif (took_us := min(arrived) - self._calm_us) > self._fresh_within_us:
            self._break(Law.LIVENESS, to.name, f"the first fresh frame took {took_us / 1e6:.1f} s")

    def undated(self, destination: str) -> set[Key]:
        """What it has without a date of a time for which others got one."""
        undated = self._destinations[destination].undated
        return {key for key in undated if key[1] > self._left.get(key[0], 0) and self._has_date(self._frame_of[key])}

    def _has_date(self, number: int) -> bool:
        """Whether a frame was heard when others were that got a better date; one that came at two times may not be.

        That the gateway could date one time says nothing of another: a boot that ended before it had seen that the
        machine's clock was set stays without a date for ever. So a frame that was sent in both counts for the time
        that the date on it names.
        """
        dated_us = [self._unsure_us[index] for index in self._dated]
        return any(all(span[0] <= at_us <= span[1] for at_us in self._handed_us[number]) for span in dated_us)

    def _judge_dates(self, to: _Destination) -> None:
        for key in sorted(self.undated(to.name)):
            self._break(Law.HONEST_TIME, to.name, f"frame {self._frame_of[key]} was never dated, others of then were")

    def _judge_books(self) -> None:
        books = self._books
        if books is None:
            self._break(Law.USEFULNESS, "run", "nobody looked into the books")
            return
        checks = [
            ("gateway", "says of its own balance", books.balance, 0),
            ("line", "heard", books.heard, books.filtered + books.stored + books.dropped),
        ]
        if not books.losses:
            checks.append(("line", "stored", books.stored, len(self._frame_of)))
        for name, account in books.sinks.items():
            to = self._destinations[name]
            checks += self._account_checks(to, account, books)
            self._judge_losses(to)
        for subject, what, says, seen in checks:
            if says != seen:
                self._break(Law.BALANCE, subject, f"{what}: {says}, the judge counts {seen}")

    def _account_checks(self, to: _Destination, account: Account, books: Books) -> list[tuple[str, str, int, int]]:
        """What the books of a destination must say. What came unconfirmed and then left the store counts as lost."""
        settled = account.acknowledged + account.given_up + account.skipped
        checks = [(to.name, "queued", account.queued, 0), (to.name, "settled", settled, books.stored)]
        if not self._losses(to):
            delivered = len(to.seen.keys() - to.refused.keys())
            checks += [
                (to.name, "acknowledged", account.acknowledged, delivered),
                (to.name, "given up", account.given_up, len(to.refused)),
            ]
        return checks

    def _judge_losses(self, to: _Destination) -> None:
        """A device's losses are as many as did not come, and not more than there can be."""
        for loss in self._losses(to):
            numbers = [self.fleet.sent_as(loss.dev_eui, f_cnt) for f_cnt in loss.counters]
            possible = [number for number in numbers if number in self._handed_us and to.terms.wants(number)]
            keys = {self._record_of[number] for number in possible if number in self._record_of}
            missed = len(keys - to.seen.keys() - to.refused.keys())
            if not missed <= loss.records <= len(possible):
                what = f"{len(possible)} were for it, {missed} of them did not come"
                self._break(Law.BALANCE, to.name, f"losses of {loss.dev_eui}: {loss.records}, {what}")

    def _facts(self) -> dict[str, Any]:
        losses = sorted(age_us / 1000 for _, _, age_us in self.losses() if age_us is not None)
        facts: dict[str, Any] = {
            **self._events,
            "handed out": len(self._handed_us),
            "acknowledged": len(self._acknowledged_us),
            "kept": len(self._frame_of),
            "lost": len(losses),
            "lost by age, ms": spread(losses),
        }
        for to in self._destinations.values():
            facts |= {
                f"{to.name} delivered": len(to.seen),
                f"{to.name} connections": to.connection,
                f"{to.name} refused": len(to.refused),
                f"{to.name} copies": to.copies,
                f"{to.name} copies by interruption": dict(sorted(Counter(to.repeated.values()).items())),
                f"{to.name} copies at most": f"{max(to.repeated.values(), default=0)}, {to.terms.in_flight} in flight",
                f"{to.name} copies by power cuts": to.repeated_by_cuts,
                f"{to.name} corrections": to.corrections,
                f"{to.name} wait, ms": spread(sorted(wait / 1000 for wait in to.waits_us.values())),
            }
        facts["copies"] = sum(to.copies for to in self._destinations.values())
        facts["corrections"] = sum(to.corrections for to in self._destinations.values())
        facts["refused"] = sum(len(to.refused) for to in self._destinations.values())
        return facts


def descent(values: Iterable[int]) -> list[int]:
    """A longest subsequence that only descends: as many ascending lanes does it take to explain all (Dilworth)."""
    ends: list[int] = []  # of the descents of each length, the index of the highest end
    taken = list(values)
    before: list[int | None] = []
    for index, value in enumerate(taken):
        length = bisect_left(ends, -value, key=lambda end: -taken[end])
        before.append(ends[length - 1] if length else None)
        ends[length : length + 1] = [index]
    found: list[int] = []
    at = ends[-1] if ends else None
    while at is not None:
        found.append(taken[at])
        at = before[at]
    return found[::-1]
