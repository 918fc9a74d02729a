"""The verdict on the network side."""

from __future__ import annotations

import pytest

from gateway.console.answering import answering
from gateway.console.verdict import Level

QUIET = {"answers": True, "answered": 3, "unanswered": 1, "joined": 2, "waiting": 0}
BAND = {"receiver": "roof", "band": "868.0-868.6 MHz", "used_s": 1.0, "limit_s": 36.0, "left_s": 35.0}


@pytest.mark.parametrize(
    ("network", "airtime", "level", "word"),
    [
        ({"answers": False}, [], Level.GOOD, "Listens only"),
        (QUIET, [BAND], Level.GOOD, "Answers devices"),
        (QUIET, [BAND, {**BAND, "band": "869.4-869.65 MHz", "used_s": 33.0}], Level.LOOK, "Air time used up"),
        ({**QUIET, "answered": 80, "unanswered": 20}, [BAND], Level.LOOK, "Many answers do not leave"),
        (QUIET, [{**BAND, "limit_s": None}], Level.GOOD, "Answers devices"),
    ],
)
def test_each_case_has_its_word(network, airtime, level, word):
    found = answering(network, {"airtime": airtime})
    assert (found.level, found.word) == (level, word)


def test_the_fullest_band_is_named():
    assert (
        "869.4-869.65 MHz: 92%"
        in answering(QUIET, {"airtime": [{**BAND, "band": "869.4-869.65 MHz", "used_s": 33.1}]}).why
    )
