"""Network servers in words: what is known is said, what is not known is not called zero."""

from __future__ import annotations

import pytest

from gateway.console.servers import figures, server
from gateway.console.verdict import Level
from gateway.console.wording import THIN


def told(**facts) -> dict[str, str]:
    return {
        label: words.replace(THIN, " ") for label, words in figures({"name": "city", "state": "connected", **facts})
    }


def judged(**facts):
    return server({"name": "city", "state": "connected", **facts}).verdict


def test_frames_that_a_protocol_does_not_acknowledge_are_not_called_lost():
    assert told(forwarded=7, acknowledged=None) == {"frames": "7 forwarded; this protocol acknowledges none"}
    assert told(forwarded=7, acknowledged=0, acknowledged_share=0.0, unanswered=7) == {
        "frames": "7 forwarded, 0 acknowledged (0%), 7 not"
    }
    assert told(forwarded=0, acknowledged=None) == {"frames": "none forwarded yet"}
    assert told() == {}


@pytest.mark.parametrize(
    ("share", "words"), [(1.0, "(100%)"), (0.9996, "(99.9%)"), (0.995, "(99.5%)"), (0.85, "(85%)")]
)
def test_nearly_all_is_not_all(share, words):
    assert words in told(forwarded=10_000, acknowledged=9_996, acknowledged_share=share)["frames"]


def test_why_frames_were_missed_downlinks_failed_and_messages_were_refused():
    assert told(
        missed={"away": 3, "made_up": 1, "slow": 0}, filtered=5, downlinks={"TOO_LATE": 2, "SENT": 40},
        refused={"not_json": 1, "ack_unknown": 0},
    ) == {
        "missed": "3 while it was away, 1 made up", "not for it": "5", "downlinks": "SENT 40, TOO_LATE 2",
        "refused": "not json 1",
    }  # fmt: skip


def test_what_went_to_it_later_and_who_still_waits():
    assert told(history={"replayed": 12, "owed_devices": 1})["history"] == "12 sent later, 1 device still owed some"
    assert "history" not in told(history={"replayed": 0, "owed_devices": 0})


def test_how_soon_it_answers():
    assert told(last_contact_s=4.2, round_trip_ms=23.4)["answers"] == "4 s ago, in 23 ms"
    assert told(last_contact_s=4.2, round_trip_ms=0.4)["answers"] == "4 s ago, in under a millisecond"
    assert told(last_contact_s=None, round_trip_ms=None) == {}


def test_air_time_is_told_of_where_it_was_used_and_of_each_receiver_where_there_are_several():
    use = {"receiver": "roof", "band": "869.4-869.65 MHz", "used_s": 1.5, "left_s": 340.0, "limit_s": 360.0}
    assert list(figures({"airtime": [use, {**use, "band": "g1", "used_s": 0}]})) == [
        ("on air", f"869.4-869.65 MHz: 1.5{THIN}s this hour, 5{THIN}min left for all")
    ]
    two = list(figures({"airtime": [use, {**use, "receiver": "cellar"}]}))
    assert "of roof" in two[0][1]
    assert "of cellar" in two[1][1]


def test_a_server_that_answers_and_says_what_is_wrong_is_worth_a_look():
    found = judged(evidence="nobody is subscribed to eu868/…", hint="Check topic_prefix.")
    assert (found.level, found.word) == (Level.LOOK, "Needs a look")
    assert [step.text for step in found.steps] == ["Check topic_prefix."]


def test_a_way_that_loses_frames_is_worth_a_look_once_there_are_enough_of_them():
    assert judged(acknowledged_share=0.5, acknowledged=2, unanswered=2).level is Level.GOOD
    found = judged(acknowledged_share=0.5, acknowledged=20, unanswered=20)
    assert (found.level, found.word) == (Level.LOOK, "Loses frames")
    assert "50%" in found.why
    assert judged(acknowledged_share=None, acknowledged=None).level is Level.GOOD


def test_a_long_hint_is_not_cut():
    hint = "UDP does not say why. " + "Check this and that. " * 10
    assert judged(state="unreachable", hint=hint).steps[0].text == hint.strip()


def test_a_server_whose_channels_are_not_heard_needs_a_look():
    sentence = 'will not hear 865.1 MHz, which it wants: radio.channels = "region" (EU868)'
    facts = {"channels": {"sentence": sentence}, "plan": {"law": "nodc not followed: the law of the region is kept"}}
    assert judged(**facts).level is Level.LOOK
    assert told(**facts) == {"channels": sentence, "law": "nodc not followed: the law of the region is kept"}
    assert judged(channels={"sentence": ""}, plan=None).level is Level.GOOD
