"""What was sent within the hour is known to the next run, however this one ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from daemons import GatewayProcess


def told_by(gateway):
    """Whether a run is going, and whose air time is remembered."""
    with closing(sqlite3.connect(gateway.data / "airtime.sqlite3")) as file:
        [(going,)] = file.execute("SELECT going FROM run")
        return bool(going), [who for (who,) in file.execute("SELECT transmitter FROM airtime")]


def test_a_gateway_that_was_killed_counts_as_sent_what_it_may_have_sent_last(tmp_path):
    with GatewayProcess(tmp_path) as gateway:
        gateway.start()
        assert told_by(gateway) == (True, [])
        gateway.kill()
        assert told_by(gateway) == (True, [])
        gateway.start()
        assert told_by(gateway) == (True, ["*"] * 6), "one for each sub-band of EU868"
        assert "did not end in order" in gateway.log
        assert gateway.stop() == 0
        assert told_by(gateway) == (False, ["*"] * 6)
        gateway.start()
        assert told_by(gateway) == (True, ["*"] * 6), "and no more after an orderly stop"
