"""The verdicts: does it hear, keep and deliver; and every trouble comes with a next step."""

import pytest

from gateway.console import verdict
from gateway.console.verdict import Level, Pace
from gateway.gps.receiver import GpsState
from gateway.model import TimeQuality
from tests.console.stand_in import StandIn

RADIO_TYPES = ["virtual", "packet-forwarder", "libloragw", "sx1302"]  # contract, section 3


def sink(**facts):
    usual = {"name": "toulouse", "state": "connected", "acknowledged": 9, "queued": 0, "given_up": 0}
    return {**usual, "oldest_age_s": None, "dead_letters": 0, **facts}


def delivering(*sinks):
    return verdict.delivering([verdict.link(one) for one in sinks])


@pytest.mark.parametrize(
    ("state", "level", "word"),
    [
        ("hearing", Level.GOOD, "Yes"),
        ("waiting", Level.LOOK, "Waits"),
        ("silent", Level.BAD, "Silent"),
        ("failed", Level.BAD, "Failed"),
        ("rebooting_chip", Level.LOOK, "Rebooting chip"),
    ],
)
@pytest.mark.parametrize("kind", RADIO_TYPES)
def test_the_radio_is_judged_by_its_state_and_trouble_has_a_next_step(kind, state, level, word):
    radio = {"type": kind, "state": state, "evidence": "the counter stands still.", "dropped": 0}
    found = verdict.hearing(radio, 60)
    assert (found.level, found.word, found.why) == (level, word, "The counter stands still.")
    assert bool(found.steps) == (level is not Level.GOOD)


def heard(**facts):
    return verdict.hearing({"type": "sx1302", "state": "hearing", "evidence": "", "dropped": 0, **facts}, 1_200)


def test_advice_of_the_part_itself_comes_before_ours():
    found = heard(state="failed", hint="Switch SPI on: raspi-config")
    assert [step.text for step in found.steps] == ["Switch SPI on: raspi-config"]


@pytest.mark.parametrize(
    ("last_heard_s", "level", "word"),
    [(0.2, Level.GOOD, "Yes"), (900, Level.GOOD, "Yes"), (901, Level.LOOK, "Quiet"), (None, Level.LOOK, "Nobody yet")],
)
def test_a_radio_that_seems_well_and_hears_nobody_is_worth_a_look(last_heard_s, level, word):
    found = heard(last_heard_s=last_heard_s, evidence="The chip counts time.")
    assert (found.level, found.word) == (level, word)
    assert found.why.startswith("The chip counts time.")
    assert bool(found.steps) == (level is Level.LOOK)


def test_dropped_frames_and_senseless_input_are_mentioned():
    found = heard(dropped=3, dropped_by_cause={"line_full": 2, "stopped": 1}, input={"not_json": 2, "no_token": 0})
    assert [note.text for note in found.notes] == [
        "3 frames were dropped: line full 2, stopped 1.",
        "Messages to the radio's port that were not taken: not json 2.",
    ]


@pytest.mark.parametrize(
    ("evidence", "shown"),
    [
        ("the disk refuses: full", "The disk refuses: full"),
        ("mqtts://host:8883: refused", "mqtts://host:8883: refused"),
    ],
)
def test_evidence_begins_like_a_sentence_unless_it_begins_with_an_address(evidence, shown):
    assert verdict.link(sink(state="unreachable", evidence=evidence)).verdict.why == shown


@pytest.mark.parametrize(
    ("window_ms", "cost"), [(0, "nothing"), (1000, "the last 1\u202fs"), (250, "the last 250\u202fms")]
)
def test_a_power_cut_is_put_in_seconds(window_ms, cost):
    daemon = StandIn()
    daemon.store["loss_window_ms"] = window_ms
    found = verdict.keeping(daemon.status()["store"])
    assert found.level is Level.GOOD
    assert cost in found.why


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        ({"state": "full"}, Level.BAD, "Disk full"),
        ({"state": "failing"}, Level.BAD, "At risk"),
        ({"balance": -2}, Level.LOOK, "Miscounts"),
        ({"quarantined": 3}, Level.LOOK, "Yes"),
        ({"lost": 1}, Level.LOOK, "Yes"),
        ({"state": "checking"}, Level.LOOK, "Checking"),
    ],
)
def test_the_store_is_judged_by_state_and_books(facts, level, word):
    found = verdict.keeping({**StandIn().status()["store"], **facts})
    assert (found.level, found.word) == (level, word)
    assert found.steps or found.notes


@pytest.mark.parametrize(
    ("sinks", "level", "word"),
    [
        ([], Level.LOOK, "Nowhere"),
        ([sink()], Level.GOOD, "Yes"),
        ([sink(queued=3, oldest_age_s=2.0)], Level.GOOD, "Yes"),
        ([sink(queued=900, oldest_age_s=7200.0)], Level.LOOK, "Catching up"),
        ([sink(state="paused")], Level.LOOK, "Paused"),
        ([sink(state="unreachable")], Level.BAD, "Blocked"),
        ([sink(), sink(state="unreachable")], Level.BAD, "Partly blocked"),
        ([sink(state="alert"), sink(state="unreachable")], Level.BAD, "Blocked"),
        ([sink(state="paused"), sink(state="connecting")], Level.LOOK, "Not all"),
    ],
)
def test_all_destinations_together_have_one_word(sinks, level, word):
    found = delivering(*sinks)
    assert (found.level, found.word) == (level, word)


def test_an_outage_says_what_waits_and_that_nothing_is_lost():
    found = delivering(sink(state="unreachable", queued=340, oldest_age_s=7_260))
    assert "Nothing is lost: 340 readings wait here, the oldest for 2\u202fh 1\u202fmin." in found.why
    assert "leave by themselves" in found.why


def test_a_paused_destination_promises_nothing_by_itself():
    assert "by themselves" not in delivering(sink(state="paused", queued=2, oldest_age_s=10)).why


@pytest.mark.parametrize("state", sorted(verdict.LINK_STATES))
def test_every_state_in_which_somebody_must_act_says_what_to_do(state):
    found = verdict.link(sink(state=state)).verdict
    assert found.steps or found.level is not Level.BAD
    assert found.word


def test_a_paused_sink_names_the_command_that_resumes_it():
    assert [one.command for one in verdict.link(sink(state="paused")).verdict.steps] == [
        "lorawan-gateway sink resume toulouse"
    ]


def test_given_up_and_refused_readings_are_mentioned_with_the_way_to_see_them():
    notes = verdict.link(sink(given_up=2, dead_letters=1)).verdict.notes
    assert notes[0].text == "2 readings were given up and will not arrive."
    assert notes[1].command == "lorawan-gateway sink dead-letters toulouse"


@pytest.mark.parametrize("quality", TimeQuality)
def test_every_quality_of_the_clock_has_words(quality):
    found = verdict.clock({"quality": quality, "uncertainty_ms": 50})
    assert found.word != verdict.sentence(quality) or found.why
    assert (found.level is Level.GOOD) == (quality in {TimeQuality.GPS, TimeQuality.NTP, TimeQuality.CORRECTED})


@pytest.mark.parametrize("state", GpsState)
def test_every_state_of_a_receiver_has_a_word_and_only_a_fix_is_good(state):
    found = verdict.gps({"state": str(state), "evidence": "no fix for 5 min", "hint": "Check the antenna"})
    assert found.word in {word for _, word in verdict.GPS_WORDS.values()}
    assert (found.level is Level.GOOD, found.steps == ()) == (state is GpsState.FIX, state is GpsState.FIX)
    assert found.why == "No fix for 5 min"


def test_a_clock_that_is_not_set_promises_no_precision():
    assert "Right within" not in verdict.clock({"quality": "unsynced", "uncertainty_ms": 50}).why
    assert "Right within 50\u202fms" in verdict.clock({"quality": "ntp", "uncertainty_ms": 50}).why


class TestPace:
    def test_counts_frames_by_minute_whenever_it_looks(self):
        pace = Pace()
        for now_s, total in [(600, 10), (605, 13), (659, 14), (660, 14), (725, 20)]:
            pace.note(total, now_s)
        assert pace.minutes(730)[-4:] == [0, 4, 0, 6]
        assert len(pace.minutes(730)) == verdict.PACE_MINUTES

    def test_five_minutes_are_five_minutes_or_less(self):
        pace = Pace()
        pace.note(0, 0)
        pace.note(7, 30)
        assert pace.recent(30) == (7, 30)
        pace.note(7, 3_000)
        frames, span_s = pace.recent(3_000)
        assert frames == 0
        assert 240 <= span_s <= 300

    def test_old_minutes_are_forgotten(self):
        pace = Pace()
        for minute in range(200):
            pace.note(minute, 60 * minute)
        assert sum(pace.minutes(60 * 199)) == verdict.PACE_MINUTES

    def test_a_counter_that_starts_again_takes_nothing_back(self):
        pace = Pace()
        pace.note(50, 0)
        pace.note(3, 10)
        assert pace.recent(10)[0] == 0

    def test_silence_lasts_since_the_counter_moved(self):
        pace = Pace()
        pace.note(5, 100)
        assert pace.silence_s(130) is None
        pace.note(6, 140)
        pace.note(6, 200)
        assert pace.silence_s(200) == 60


def test_a_codec_that_cannot_be_asked_is_shown_with_what_to_do():
    facts = {"codec": "acme/probe@2", "state": "idle", "detail": "waits for payloads"}
    assert verdict.codec(facts) is None
    aside = verdict.codec({**facts, "state": "set aside", "detail": "it overran; it is tried again in 30 s"})
    assert (aside.level, aside.word, aside.why) == (Level.LOOK, "Set aside", "it overran; it is tried again in 30 s.")
    broken = verdict.codec({**facts, "state": "cannot load", "detail": "SyntaxError (line 3)"})
    assert (broken.level, broken.word) == (Level.BAD, "Cannot load")
    assert [step.command for step in broken.steps] == [
        "lorawan-gateway codec test acme/probe",
        "lorawan-gateway uplink reread",
    ]
