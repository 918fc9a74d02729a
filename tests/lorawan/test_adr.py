"""ADR: what a device should send with, from how its last uplinks were heard.

Sources of the expected values: chirpstack/chirpstack at d77207c, chirpstack/src/adr/default.rs, tests (its default
algorithm follows the same recommendation of Semtech's); the SNR that a spreading factor needs: SX1276 data sheet.
"""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.lorawan.adr import ADRS, SAMPLES, Link, Sample, Wish, loss, off, required_snr_db, standard
from gateway.model import Fsk, Lora
from gateway.regions.eu868 import EU868

RATES = {index: EU868.data_rates[index] for index in range(6)}


def link(snr_db, *, data_rate=0, tx_power=0, nb_trans=1, samples=SAMPLES, **changes):
    heard = tuple(Sample(n, snr_db, tx_power, 1) for n in range(samples))
    return replace(Link(heard, data_rate, tx_power, nb_trans, RATES, tx_power_highest=5), **changes)


def margin(steps):
    """A required SNR, the installation margin, and this many steps of 3 dB and a bit."""
    return -20.0 + 10.0 + 3 * steps + (0.5 if steps > 0 else -0.5 if steps < 0 else 0)


# chirpstack: test_get_ideal_tx_power_index_and_dr; steps, power and data rate before and after, with up to DR5
@pytest.mark.parametrize(
    ("steps", "tx_power", "data_rate", "tx_power_then", "data_rate_then"),
    [
        (0, 1, 3, 1, 3),
        (1, 1, 4, 1, 5),
        (1, 1, 5, 2, 5),
        (2, 1, 3, 1, 5),
        (2, 1, 4, 2, 5),
        (2, 1, 5, 3, 5),
        (2, 5, 5, 5, 5),
        (-1, 1, 5, 0, 5),
        (-1, 0, 4, 0, 4),
        (-10, 0, 4, 0, 4),
    ],
)
def test_margin_goes_into_speed_first_and_then_into_power(steps, tx_power, data_rate, tx_power_then, data_rate_then):
    snr_db = margin(steps) + 2.5 * data_rate  # each data rate of EU868 needs 2.5 dB more
    wish = standard(link(snr_db, data_rate=data_rate, tx_power=tx_power))
    assert (wish.data_rate, wish.tx_power) == (data_rate_then, tx_power_then)


def test_a_data_rate_that_is_not_offered_is_left_at_once():
    """chirpstack: "max dr exceeded, decrease dr"."""
    four = {index: RATES[index] for index in range(5)}
    assert standard(link(0.0, data_rate=5, data_rates=four, samples=1)) == Wish(4, 0, 1)
    assert standard(link(0.0, data_rate=0, data_rates={2: RATES[2], 3: RATES[3]}, samples=1)) == Wish(2, 0, 1)


# chirpstack: test_get_nb_trans; lost frames in a hundred, NbTrans before and after
@pytest.mark.parametrize(
    ("lost", "nb_trans", "nb_trans_then"), [(4.99, 3, 2), (9.99, 2, 2), (30.0, 3, 3), (0, 1, 1), (0, 2, 1), (40, 1, 3)]
)
def test_losses_are_answered_by_sending_again(lost, nb_trans, nb_trans_then):
    heard = [Sample(n, -10.0, 0, 1) for n in range(SAMPLES - 1)]
    last = round(SAMPLES / (1 - lost / 100) - 0.5)
    samples = (*heard, Sample(last - 1 if lost else SAMPLES - 1, -10.0, 0, 1))
    lossy = replace(link(-10.0, nb_trans=nb_trans), samples=samples)
    assert loss(samples) <= lost / 100
    assert standard(lossy).nb_trans == nb_trans_then


def test_loss_is_the_share_of_counters_that_were_not_heard():
    assert loss(()) == 0
    assert loss((Sample(5, 1.0, 0, 1),)) == 0
    assert loss((Sample(0, 1.0, 0, 1), Sample(3, 1.0, 0, 1))) == 0.5
    # chirpstack: test_get_packet_loss_percentage counts 20 heard of 22; it divides by those heard
    counters = [*range(5), *range(6, 11), *range(12, 22)]
    assert loss(tuple(Sample(f_cnt, 1.0, 0, 1) for f_cnt in counters)) == pytest.approx(2 / 22)


def test_nothing_is_wished_without_an_snr_or_of_two_uplinks():
    assert standard(link(20.0, samples=2)) == Wish(0, 0, 1)
    assert standard(link(None)) == Wish(0, 0, 1)
    assert standard(link(20.0)) == Wish(5, 5, 1)


def test_before_twenty_uplinks_a_device_is_only_made_faster_and_by_the_weakest():
    assert standard(link(20.0, samples=3)) == Wish(5, 0, 1)
    assert standard(link(-30.0, samples=SAMPLES - 1, tx_power=3)) == Wish(0, 3, 1)
    weak = replace(link(20.0), samples=tuple(Sample(n, -4.0 if n == 1 else 9.0, 0, 1) for n in range(5)))
    assert standard(weak) == Wish(2, 0, 1)  # (-4 + 20 - 10) / 3


def test_the_best_of_the_last_twenty_counts():
    mixed = replace(
        link(-30.0), samples=tuple(Sample(n, -4.0 if n == 25 else 9.0 if n == 0 else -30.0, 0, 1) for n in range(30))
    )
    assert standard(mixed).data_rate == 2  # (-4 + 20 - 10) / 3


def test_what_a_device_refused_is_not_wished_again():
    taught = link(20.0, data_rates={index: RATES[index] for index in range(4)}, tx_power_highest=2, tx_power_lowest=1)
    assert standard(taught) == Wish(3, 2, 1)
    assert standard(replace(taught, samples=link(-30.0).samples)).tx_power == 1


def test_a_device_on_fsk_without_a_lora_rate_is_left_alone():
    fsk = {7: Fsk(50_000)}
    assert standard(link(None, data_rate=7, data_rates=fsk)) == Wish(7, 0, 1)
    assert standard(link(None, data_rate=7)) == Wish(5, 0, 1)


def test_off_wishes_what_is():
    assert off(link(20.0, data_rate=2, tx_power=3, nb_trans=2)) == Wish(2, 3, 2)
    assert ADRS["off"] is off
    assert ADRS["standard"] is standard


@pytest.mark.parametrize(("factor", "needed"), [(7, -7.5), (8, -10), (9, -12.5), (10, -15), (11, -17.5), (12, -20)])
def test_the_snr_a_spreading_factor_needs_is_that_of_the_data_sheet(factor, needed):
    assert required_snr_db(Lora(factor, 125_000)) == needed


@settings(deadline=None, max_examples=200)
@given(
    snrs=st.lists(st.none() | st.floats(-40, 20), max_size=30),
    counters=st.lists(st.integers(0, 1 << 32), min_size=30, max_size=30, unique=True).map(sorted),
    data_rate=st.integers(0, 15),
    tx_power=st.integers(0, 15),
    nb_trans=st.integers(0, 15),
    offered=st.sets(st.sampled_from(sorted(EU868.data_rates))),
    name=st.sampled_from(sorted(ADRS)),
)
def test_a_wish_is_always_something_the_device_may_use(snrs, counters, data_rate, tx_power, nb_trans, offered, name):
    samples = tuple(Sample(f_cnt, snr, tx_power, 1) for f_cnt, snr in zip(counters, snrs, strict=False))
    rates = {index: EU868.data_rates[index] for index in offered}
    wish = ADRS[name](Link(samples, data_rate, tx_power, nb_trans, rates, tx_power_highest=7))
    assert wish.data_rate == data_rate or wish.data_rate in offered
    assert wish.tx_power == tx_power or 0 <= wish.tx_power <= 7
    assert wish.nb_trans == nb_trans or 1 <= wish.nb_trans <= 3
    if name == "standard" and data_rate in offered:
        before, then = (required_snr_db(rates[rate]) for rate in (data_rate, wish.data_rate))
        assert before == then or then > before  # never slower
