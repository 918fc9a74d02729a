"""A judge of what went on the air. It knows the regulation from its own table and nothing of how the gateway decides.

Numbers: ETSI EN 300 220-2 V3.2.1, annex B, table B.1, the European bands for non-specific short range devices between
863 and 870 MHz (e.r.p.; 2.15 dB more make it e.i.r.p.), and EN 300 220-1 V3.1.1, clause 5.4: the hour in which air time
is counted is any hour. FCC 47 CFR 15.247 (a)(1)(i): 0.4 s on a hopping channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Sent:
    """One transmission as it was on the air, on the clock of the world."""

    transmitter: str
    start_us: int
    airtime_us: int
    frequency_hz: int
    bandwidth_hz: int
    eirp_dbm: float

    @property
    def end_us(self):
        return self.start_us + self.airtime_us


@dataclass(frozen=True)
class Rule:
    """What holds between two frequencies."""

    khz: tuple[int, int]
    per_mille: int | None  # of any hour
    milliwatts_erp: float
    longest_ms: int | None = None


EUROPE = (
    Rule((863_000, 865_000), 1, 25),
    Rule((865_000, 868_000), 10, 25),
    Rule((868_000, 868_600), 10, 25),
    Rule((868_700, 869_200), 1, 25),
    Rule((869_400, 869_650), 100, 500),
    Rule((869_700, 870_000), 10, 25),
)

NEARLY_DB = 0.03
"""25 mW are 13.98 dBm, and everybody writes 14."""


def erp_dbm(milliwatts):
    dbm = {25: 13.979, 500: 26.990}
    return dbm[milliwatts]


def violations(sent, rules=EUROPE):
    """Every breach, as words that begin with its kind."""
    found = []
    by_rule = {}
    for one in sent:
        rule = rule_of(one, rules)
        if rule is None:
            found.append(f"band: {one.transmitter} at {one.frequency_hz} Hz")
            continue
        by_rule.setdefault((one.transmitter, rule), []).append(one)
        if not one.eirp_dbm <= erp_dbm(rule.milliwatts_erp) + 2.15 + NEARLY_DB:
            found.append(f"power: {one.eirp_dbm} dBm at {one.frequency_hz} Hz")
        if rule.longest_ms is not None and one.airtime_us > rule.longest_ms * 1000:
            found.append(f"dwell: {one.airtime_us} us at {one.frequency_hz} Hz")
    for (transmitter, rule), theirs in by_rule.items():
        if rule.per_mille is not None and (most := fullest_hour_us(theirs)) > rule.per_mille * HOUR_US // 1000:
            found.append(f"hour: {transmitter} {most / 1e6:.3f} s within {rule.khz} kHz")
    for transmitter in {one.transmitter for one in sent}:
        in_time = sorted((one for one in sent if one.transmitter == transmitter), key=lambda one: one.start_us)
        found += [
            f"overlap: {transmitter} at {later.start_us} us"
            for earlier, later in pairwise(in_time)
            if later.start_us < earlier.end_us
        ]
    return found


def rule_of(one, rules):
    low, high = one.frequency_hz - one.bandwidth_hz // 2, one.frequency_hz + one.bandwidth_hz // 2
    return next((rule for rule in rules if rule.khz[0] * 1000 <= low and high <= rule.khz[1] * 1000), None)


def fullest_hour_us(sent):
    """The most that any hour holds, with what lies across its edges cut there.

    As an hour slides, what it holds changes at an even rate between the moments when one of its edges meets an edge of
    a transmission: the most is held at one of those.
    """
    if sum(one.airtime_us for one in sent) == 0:
        return 0
    edges = {edge for one in sent for edge in (one.start_us, one.end_us)}
    begins = edges | {edge - HOUR_US for edge in edges}
    return max(held_us(sent, begin, begin + HOUR_US) for begin in begins)


def held_us(sent, since_us, until_us):
    return sum(max(0, min(one.end_us, until_us) - max(one.start_us, since_us)) for one in sent)
