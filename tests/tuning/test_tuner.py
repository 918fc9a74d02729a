"""Whose channels the radio hears: one server's or the region's own, never two servers' in turn."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.radio.channels import plan_for, plan_of
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.regions import region_named
from gateway.tuning import plan_file
from gateway.tuning.tuner import Followed, Tuner, Wish
from gateway.wire.channel_plan import ChannelPlan, PlannedChannel

EU868 = region_named("EU868")
OWN = plan_of(EU868)


def wish(*mhz, version="v1"):
    return Wish(ChannelPlan.of(PlannedChannel(round(each * 1e6), 125_000, range(7, 13)) for each in mhz), version)


THREE, FOUR = wish(868.1, 868.3, 868.5), wish(868.1, 868.3, 868.5, 867.1, version="v2")
ELEVEN = wish(*(867.1 + 0.2 * at for at in range(11)), version="v3")


class Radio:
    """Takes what it is told when the test says so."""

    def __init__(self, plan):
        self.told = []
        self.plan = plan

    def tune(self, plan, told):
        self.told.append((plan, told))

    def answers(self, trouble=None):
        """Say that it hears so, or that it hears the region's own because it does not start with that."""
        plan, told = self.told[-1]
        self.plan = plan if trouble is None else OWN
        told(trouble)


class Gateway:
    def __init__(self, leader=None, remembered=None, own=OWN):
        self.said, self.changes, self.radio = [], 0, Radio(OWN)
        self.tuner = Tuner(EU868, own, leader, remembered, say=self.said.append, warn=self.said.append)
        self.tuner.attend(self.radio if own is not None else object(), self._changed)

    def _changed(self):
        self.changes += 1

    def ask(self, name, what):
        return self.tuner.of(name).ask(what.plan, what.version)

    def hears(self):
        return sorted(channel.frequency_hz for channel in self.tuner.plan.channels)


def hz(what):
    return sorted(channel.frequency_hz for channel in what.plan.channels)


# --- who is followed


def test_nobody_is_followed_unless_the_settings_say_so():
    gateway = Gateway()
    assert gateway.ask("city", THREE) is None
    assert gateway.ask("other", wish(865.1, 868.1)) is None
    assert gateway.radio.told == []
    assert gateway.tuner.plan == OWN
    assert not gateway.tuner.of("city").leads
    # All that the first one wants is heard anyway, so its configuration is in force.
    assert gateway.tuner.of("city").version() == "v1"
    assert gateway.tuner.of("other").version() == ""
    assert gateway.said == ['lns other: will not hear 865.1 MHz, which it wants: radio.channels = "region" (EU868)']
    assert gateway.tuner.of("other").facts() == {
        "followed": False, "wanted_hz": [865_100_000, 868_100_000], "unheard_hz": [865_100_000], "version": None,
        "sentence": 'will not hear 865.1 MHz, which it wants: radio.channels = "region" (EU868)',
    }  # fmt: skip
    assert gateway.tuner.facts()["evidence"] == "the channels of EU868, as the settings have them"


def test_the_one_that_leads_is_followed_once_the_chip_hears_so():
    gateway = Gateway(leader="city")
    assert "has not said yet" in gateway.tuner.facts()["evidence"]
    assert gateway.ask("city", THREE) is None
    assert "is being tuned to what lns city wants" in gateway.tuner.facts()["evidence"]
    assert gateway.hears() == sorted(channel.frequency_hz for channel in OWN.channels)
    assert gateway.tuner.of("city").version() == "v1"  # it is heard already, with five more
    assert gateway.changes == 0
    gateway.radio.answers()
    assert gateway.hears() == hz(THREE)
    assert gateway.tuner.followed == Followed("city", "EU868", THREE)
    assert gateway.changes == 1
    assert gateway.said == ["the radio hears what lns city wants: 868.1, 868.3 and 868.5 MHz"]
    assert gateway.tuner.facts()["evidence"] == "what lns city wants"


def test_the_same_again_changes_nothing():
    gateway = Gateway(leader="city")
    for _ in range(5):
        gateway.ask("city", THREE)
    gateway.radio.answers()
    for _ in range(5):
        gateway.ask("city", THREE)
    assert len(gateway.radio.told) == 1
    assert gateway.changes == 1
    assert len(gateway.said) == 1


def test_two_servers_never_pull_at_the_same_radio():
    gateway = Gateway(leader="city")
    gateway.ask("city", THREE)
    gateway.radio.answers()
    gateway.ask("other", FOUR)
    gateway.ask("city", THREE)
    gateway.ask("other", FOUR)
    assert len(gateway.radio.told) == 1
    assert gateway.hears() == hz(THREE)
    assert gateway.tuner.of("other").facts()["sentence"] == (
        'will not hear 867.1 MHz, which it wants: radio.channels = "city"'
    )
    assert gateway.said[1:] == ['lns other: will not hear 867.1 MHz, which it wants: radio.channels = "city"']


def test_who_is_not_heard_any_more_is_told_when_the_radio_turns_away():
    gateway = Gateway(leader="city")
    gateway.ask("other", FOUR)
    assert gateway.tuner.of("other").facts()["sentence"] == ""
    gateway.ask("city", THREE)
    gateway.radio.answers()
    assert any("lns other: will not hear 867.1 MHz" in said for said in gateway.said)
    gateway.ask("city", replace(FOUR, version="v4"))
    gateway.radio.answers()
    assert gateway.tuner.of("other").facts()["sentence"] == ""


def test_a_server_of_another_region_is_told_that_it_hears_nothing():
    gateway = Gateway()
    gateway.ask("america", wish(903.9, 904.1))
    assert gateway.said == ['lns america: hears none of its 2 channels: radio.channels = "region" (EU868)']


# --- what cannot be


def test_a_plan_beyond_the_hardware_is_refused_and_the_radio_stays():
    gateway = Gateway(leader="city")
    assert gateway.ask("city", ELEVEN) == "11 channels: a chip hears 1 to 8"
    assert gateway.ask("city", ELEVEN) == "11 channels: a chip hears 1 to 8"
    assert gateway.radio.told == []
    assert gateway.said == [
        (
            "what lns city wants heard cannot be followed: 11 channels: a chip hears 1 to 8; "
            "the radio stays with the channels of EU868"
        )
    ]
    assert "cannot be followed" in gateway.tuner.facts()["evidence"]
    assert gateway.tuner.of("city").version() == ""


def test_a_bad_plan_after_a_good_one_leaves_the_good_one():
    gateway = Gateway(leader="city")
    gateway.ask("city", THREE)
    gateway.radio.answers()
    assert gateway.ask("city", ELEVEN) is not None
    assert gateway.hears() == hz(THREE)
    assert gateway.tuner.of("city").version() == "v1"
    assert "stays with what lns city wanted before" in gateway.said[-1]
    assert gateway.ask("city", THREE) is None
    gateway.radio.answers()
    assert "cannot" not in gateway.tuner.facts()["evidence"]


def test_what_the_chip_does_not_start_with_is_not_followed():
    gateway = Gateway(leader="city")
    gateway.ask("city", THREE)
    gateway.radio.answers(ChipTrouble(TroubleKind.BAD_PLAN, "the board has no filter for that"))
    assert gateway.tuner.plan == OWN
    assert gateway.tuner.followed is None
    assert gateway.changes == 0
    # The same again is not tried again: a radio that restarts with each message would hear nobody.
    assert gateway.ask("city", THREE) == "the board has no filter for that"
    assert len(gateway.radio.told) == 1


def test_what_the_radio_hears_is_followed_though_another_wish_was_refused_meanwhile():
    gateway = Gateway(leader="city")
    gateway.ask("city", THREE)
    assert gateway.ask("city", ELEVEN) is not None
    gateway.radio.answers()
    assert gateway.tuner.followed.wish == THREE
    assert gateway.hears() == hz(THREE)
    assert "stays with what lns city wanted before" in gateway.tuner.facts()["evidence"]


def test_a_radio_that_another_program_tunes_knows_nothing_and_says_so():
    gateway = Gateway(own=None)
    gateway.ask("city", THREE)
    assert gateway.tuner.plan is None
    assert gateway.tuner.facts()["channels_hz"] is None
    assert "in the configuration of the packet forwarder" in gateway.tuner.facts()["evidence"]
    assert gateway.tuner.of("city").facts()["unheard_hz"] == []
    assert gateway.tuner.of("city").version() == ""
    assert gateway.tuner.heard_by_devices is None


def test_nothing_wanted_is_no_wish():
    gateway = Gateway(leader="city")
    assert gateway.ask("city", Wish(ChannelPlan(()), "v9")) is None
    assert gateway.radio.told == []
    assert gateway.said == []


# --- over a restart


REMEMBERED = Followed("city", "EU868", THREE)


def test_what_was_followed_is_heard_from_the_first_moment_on():
    gateway = Gateway(leader="city", remembered=REMEMBERED)
    assert gateway.hears() == hz(THREE)
    assert gateway.tuner.before == OWN
    assert gateway.tuner.of("city").version() == "v1"
    assert "wanted before the start" in gateway.tuner.facts()["evidence"]
    gateway.radio.answers()
    gateway.ask("city", THREE)
    gateway.radio.answers()
    assert gateway.tuner.followed == REMEMBERED
    assert gateway.said == []


@pytest.mark.parametrize(
    "remembered",
    [
        Followed("other", "EU868", THREE),  # the settings name another server now
        Followed("city", "US915", THREE),  # or another region
        Followed("city", "EU868", ELEVEN),  # or the law or the hardware became another
    ],
)
def test_what_does_not_hold_any_more_is_not_resumed(remembered):
    gateway = Gateway(leader="city", remembered=remembered)
    assert gateway.tuner.plan == OWN
    assert gateway.tuner.before is None
    assert gateway.tuner.followed is None


def test_a_remembered_plan_that_the_chip_refuses_is_forgotten():
    gateway = Gateway(leader="city", remembered=REMEMBERED)
    gateway.radio.answers(ChipTrouble(TroubleKind.BAD_PLAN, "another board is there now"))
    assert gateway.tuner.plan == OWN
    assert gateway.tuner.followed is None
    assert gateway.changes == 1
    assert gateway.ask("city", THREE) == "another board is there now"
    assert gateway.ask("city", FOUR) is None


def test_a_remembered_plan_refused_while_the_server_repeats_it_is_forgotten_too():
    gateway = Gateway(leader="city", remembered=REMEMBERED)
    gateway.ask("city", THREE)
    gateway.radio.answers(ChipTrouble(TroubleKind.BAD_PLAN, "another board is there now"))
    assert gateway.tuner.plan == OWN
    assert gateway.tuner.followed is None


# --- the file


def test_the_file_says_what_was_followed():
    assert plan_file.read(plan_file.written(REMEMBERED)) == REMEMBERED


CHANNELS = st.builds(
    PlannedChannel,
    st.integers(1, (1 << 32) - 1),
    st.sampled_from([125_000, 250_000, 500_000]),
    st.sampled_from([range(0), range(7, 13), range(9, 10)]),
)


@given(st.text(max_size=20), st.text(max_size=20), st.lists(CHANNELS, min_size=1, max_size=12))
@settings(deadline=None, max_examples=100)
def test_any_plan_comes_back_from_the_file(server, version, channels):
    followed = Followed(server, "EU868", Wish(ChannelPlan.of(channels), version))
    assert plan_file.read(plan_file.written(followed)) == followed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 1 << 40) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["server", "region", "version", "channels", "frequency_hz", "bandwidth_hz", "spreading_factors"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(json.dumps).map(str.encode) | st.binary(max_size=60))
@settings(deadline=None, max_examples=200)
def test_a_file_that_is_none_is_a_value_error(content):
    with contextlib.suppress(ValueError):
        plan_file.read(content)


def test_what_was_written_can_be_heard_as_it_was():
    again = plan_file.read(plan_file.written(REMEMBERED))
    assert plan_for(EU868, again.wish.plan) == plan_for(EU868, THREE.plan)


# --- any history


class Chip:
    """A radio as `ChipRadio` is one: on trial until it is up, and back to what it heard before if it does not start."""

    def __init__(self, plan, before=None):
        self.plan = plan
        self.trial = None if before is None else (before, lambda _: None)
        self.starts = 0

    def tune(self, plan, told):
        if plan == self.plan:
            if self.trial is None:
                told(None)
            else:
                self.trial = self.trial[0], told
            return
        self.trial = (self.plan if self.trial is None else self.trial[0]), told
        self.plan = plan
        self.starts += 1

    def is_up(self, *, starts):
        if self.trial is None:
            return
        (before, told), self.trial = self.trial, None
        if not starts:
            self.plan = before
        told(None if starts else ChipTrouble(TroubleKind.BAD_PLAN, "no filter for that"))


WISHES = [THREE, FOUR, ELEVEN, wish(863.1, 868.1, version="v4"), replace(THREE, version="v5"), Wish(ChannelPlan(()))]
STEPS = st.lists(
    st.tuples(st.sampled_from(["city", "other"]), st.sampled_from(WISHES)) | st.tuples(st.just("up"), st.booleans()),
    max_size=20,
)


@given(STEPS, st.none() | st.sampled_from(WISHES[:4]))
@settings(deadline=None, max_examples=300)
def test_whatever_is_wanted_the_tuner_knows_what_is_heard(steps, remembered):
    said = []
    before = None if remembered is None else Followed("city", "EU868", remembered)
    tuner = Tuner(EU868, OWN, "city", before, say=said.append, warn=said.append)
    chip = Chip(tuner.plan, tuner.before)
    tuner.attend(chip, lambda: None)
    for who, what in steps:
        starts = chip.starts
        if who == "up":
            chip.is_up(starts=what)
        else:
            tuner.of(who).ask(what.plan, what.version)
            assert who == "city" or chip.starts == starts  # nobody else moves the radio
            again = chip.starts, len(said)
            tuner.of(who).ask(what.plan, what.version)
            assert (chip.starts, len(said)) == again  # the same once more does nothing
        if chip.trial is None:
            assert tuner.plan == chip.plan
            followed = tuner.followed
            assert chip.plan == (OWN if followed is None else plan_for(EU868, followed.wish.plan))
        assert all(tuner.of(name).facts() for name in ("city", "other"))
        assert tuner.facts()["evidence"]
