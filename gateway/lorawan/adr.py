"""Adaptive data rate: what a device should send with, as a pure function of how its last uplinks were heard.

An algorithm is a function in `ADRS`, chosen by its name in the settings. It wishes; whether the wish is worth a
downlink, and what becomes of it, is `requests.py`. The one called `standard` is the algorithm that Semtech recommends
to network servers and most of them run ("LoRaWAN simple rate adaptation algorithm", 2016): the best SNR of the last 20
uplinks, less what the data rate needs, less an installation margin, in steps of 3 dB, first to a faster data rate,
then to less power. It never asks for a slower data rate: a device that is not heard goes back by itself (TS001-1.0.4,
4.3.1.1), and one that is heard has no need to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gateway.model import Lora, Modulation

SAMPLES = 20
"""Uplinks that the standard algorithm looks at, and has to have."""

EARLY_SAMPLES = 3
"""Uplinks after which a data rate that is far too slow is left, by the weakest of them instead of the best. A device
that joined at SF12 would otherwise spend twenty uplinks, and as many answers, of thirty times the air time: in a town
where many join at once that is what the law's hour is used up by."""

STEP_DB = 3.0

MARGIN_DB = 10.0
"""Kept for fading: the default of the installation margin."""

NB_TRANS_MAX = 3

REQUIRED_SNR_DB = {5: -2.5, 6: -5.0, 7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""What a LoRa demodulator needs, by spreading factor: SX1276 data sheet, table 13; SF5: SX1302 data sheet."""

_LOSS_TO_NB_TRANS = (
    # below this share of lost frames, and then: NbTrans from 1, from 2, from 3
    (0.05, (1, 1, 2)),
    (0.10, (1, 2, 3)),
    (0.30, (2, 3, 3)),
    (1.01, (3, 3, 3)),
)


class Sample(NamedTuple):
    """How one uplink was heard."""

    f_cnt: int
    snr_db: float | None  # the best of all receivers; None with FSK
    tx_power: int  # the index the device was believed to send with
    gateways: int


@dataclass(frozen=True, slots=True)
class Link:
    """What an algorithm knows of a device."""

    samples: tuple[Sample, ...]  # the oldest first; none from before the last change of data rate or power
    data_rate: int
    tx_power: int
    nb_trans: int
    data_rates: Mapping[int, Modulation] = field(default_factory=dict)  # what it may be asked to use
    tx_power_lowest: int = 0  # indexes: 0 is the most power
    tx_power_highest: int = 0
    margin_db: float = MARGIN_DB
    nb_trans_max: int = NB_TRANS_MAX


class Wish(NamedTuple):
    """What a device should send with."""

    data_rate: int
    tx_power: int
    nb_trans: int


Adr = Callable[[Link], Wish]


def required_snr_db(modulation: Modulation | None) -> float | None:
    """The weakest SNR that can be demodulated; None for what is not LoRa."""
    return REQUIRED_SNR_DB.get(modulation.spreading_factor) if isinstance(modulation, Lora) else None


def off(link: Link) -> Wish:
    """Nothing changes."""
    return Wish(link.data_rate, link.tx_power, link.nb_trans)


def standard(link: Link) -> Wish:
    """Faster, then weaker, by the margin of the last 20 uplinks; repeated as often as the losses ask for.

    With fewer than 20, and at least three, only faster, and by the weakest of them.
    """
    ladder = _ladder(link)
    if link.data_rate not in ladder and (link.data_rate in link.data_rates or not ladder):
        return off(link)  # not LoRa, and offered: nothing to compute from
    if link.data_rate not in ladder:  # one that is not offered: the next slower one that is
        slower = max((rate for rate in ladder if rate < link.data_rate), default=ladder[0])
        return off(replace(link, data_rate=slower))
    snrs = [sample.snr_db for sample in link.samples[-SAMPLES:] if sample.snr_db is not None]
    if len(snrs) < EARLY_SAMPLES:
        return off(link)
    needed = required_snr_db(link.data_rates[link.data_rate])
    assert needed is not None  # of the ladder
    surely_db = max(snrs) if len(snrs) == SAMPLES else min(snrs)
    steps = int((surely_db - needed - link.margin_db) / STEP_DB)  # towards zero: less than a step changes nothing
    rung = ladder.index(link.data_rate)
    faster = min(max(steps, 0), len(ladder) - 1 - rung)
    if len(snrs) < SAMPLES:
        return Wish(ladder[rung + faster], link.tx_power, link.nb_trans)
    tx_power = min(max(link.tx_power + steps - faster, link.tx_power_lowest), link.tx_power_highest)
    return Wish(ladder[rung + faster], tx_power, _nb_trans(link))


def _ladder(link: Link) -> list[int]:
    """The LoRa data rates the device may use, from the slowest to the fastest: by the SNR they need."""
    needs = {index: required_snr_db(modulation) for index, modulation in link.data_rates.items()}
    known = {index: needed for index, needed in needs.items() if needed is not None}
    return sorted(known, key=lambda index: (known[index], index))


def _nb_trans(link: Link) -> int:
    share = loss(link.samples[-SAMPLES:])
    column = min(max(link.nb_trans, 1), 3) - 1
    wanted = next(row[column] for limit, row in _LOSS_TO_NB_TRANS if share < limit)
    return min(wanted, link.nb_trans_max)


def loss(samples: tuple[Sample, ...]) -> float:
    """The share of frames that were not heard between the first of these and the last."""
    if len(samples) < 2:
        return 0.0
    sent = samples[-1].f_cnt - samples[0].f_cnt + 1
    return max(0.0, 1 - len(samples) / sent)


ADRS: dict[str, Adr] = {"standard": standard, "off": off}
"""The algorithms by the names that settings know."""
