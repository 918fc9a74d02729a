"""Whether devices get their answers: the verdict on the network side, and how much of the law's air time is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.console.verdict import Level, Step, Verdict
from gateway.console.wording import count, milliseconds, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NEARLY_USED = 0.9
MANY_UNANSWERED = 0.1
ENOUGH_TO_TELL = 20


def answering(network: Mapping[str, Any], radio: Mapping[str, Any]) -> Verdict:
    """The network side as a technician reads it."""
    if not network.get("answers"):
        return Verdict(Level.GOOD, "Listens only", "This gateway sends nothing to devices.")
    waiting = network.get("waiting") or 0
    notes = (Step(f"{count(waiting)} for devices that have not been heard yet."),) if waiting else ()
    fullest = _fullest(radio.get("airtime") or ())
    if fullest is not None:
        band, share = fullest
        if share >= NEARLY_USED:
            why = f"{plain(band)}: {share:.0%} of the air time that the law allows in an hour is used."
            advice = Step("Confirmed uplinks cost the most: let devices confirm less, or add a gateway.")
            return Verdict(Level.LOOK, "Air time used up", why, (advice,), notes)
    answered, unanswered = network.get("answered") or 0, network.get("unanswered") or 0
    if unanswered > MANY_UNANSWERED * (answered + unanswered) and answered + unanswered >= ENOUGH_TO_TELL:
        why = f"{count(unanswered)} of {count(answered + unanswered)} devices waited for an answer in vain."
        advice = Step("See what became of them: lorawan-gateway status --json, network.downlinks.")
        return Verdict(Level.LOOK, "Many answers do not leave", why, (advice,), notes)
    why = f"{count(answered)} answers sent, {count(network.get('joined') or 0)} devices joined since the start."
    return Verdict(Level.GOOD, "Answers devices", why, (), notes)


def airtime_left(radio: Mapping[str, Any]) -> list[str]:
    """Lines: what is left of the hour of each sub-band that was sent in, for whoever wants to send."""
    uses = radio.get("airtime") or ()
    several = len({use.get("receiver") for use in uses}) > 1
    lines = []
    for use in uses:
        whose = f" of {plain(use['receiver'])}" if several else ""
        left, limit = milliseconds(1000 * use["left_s"]), milliseconds(1000 * use["limit_s"])
        lines.append(f"{plain(use['band'])}{whose}: {left} of {limit} left to send this hour")
    return lines


def _fullest(uses: Sequence[Mapping[str, Any]]) -> tuple[str, float] | None:
    shares = [(str(use["band"]), use["used_s"] / use["limit_s"]) for use in uses if use.get("limit_s")]
    return max(shares, key=lambda share: share[1], default=None)
