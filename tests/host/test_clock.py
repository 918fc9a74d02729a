"""The clock of a machine whose own clocks start at 1970, are set, jump, drift and stop.

The machine knows the true time, so that every promise is held against it. Names like T-60 are those of the catalogue of
tests for a durable gateway.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
from dataclasses import replace

import pytest
from clocks import DAY_S, Machine
from fakes import run_in_virtual_time
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.host.anchors import TimeMemory, remembered_dating
from gateway.host.clock import CONTRADICTED_US, Clock
from gateway.host.dating import Backdating
from gateway.host.trust import LATEST_US, RELEASED_US, ClockState, Floor
from gateway.model import TimeQuality

HOUR_S = 3_600.0
TWENTY_YEARS_S = 20 * 365 * DAY_S


def is_honest(stamp, true_us):
    return abs(stamp.utc_us - true_us) <= stamp.uncertainty_ms * 1000


def hear(machine, clock, heard, times=1, every_s=1.0):
    """Stamp frames, each with the true time of its arrival."""
    for _ in range(times):
        machine.wait(every_s)
        heard.append((clock.stamp(), machine.true_us))
    return heard


# --- a stamp


def test_a_stamp_carries_both_times_in_microseconds_and_how_far_to_trust_them():
    machine = Machine()
    machine.wait(40)
    machine.synchronise(max_error_us=23_400)
    stamp = machine.clock().stamp()
    assert (stamp.utc_us, stamp.monotonic_us, stamp.boot_id) == (machine.true_us, 40_000_000, machine.boot_id)
    assert (stamp.quality, stamp.uncertainty_ms) == (TimeQuality.NTP, 24)


def test_the_sources_are_asked_once_a_second_however_many_frames_come():
    machine = Machine()
    clock = machine.clock()
    asked = machine.asked
    for _ in range(1000):
        clock.stamp()
        machine.wait(0.003)
    assert machine.asked - asked == 2


def test_a_clock_that_gets_synchronised_is_noticed_within_a_second(caplog):
    machine = Machine()
    machine.wait(40)
    clock = machine.clock()
    machine.synchronise(max_error_us=20_000)
    with caplog.at_level(logging.INFO):
        assert clock.stamp().quality is TimeQuality.UNSYNCED
        machine.wait(1)
        assert clock.stamp().quality is TimeQuality.NTP
        machine.wait(1)
        clock.stamp()
    assert [record.getMessage() for record in caplog.records] == [
        "the wall clock was set by +1795428902.000 s; deadlines and order do not follow it",
        "clock: set by NTP, within 21 ms",
    ]
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_no_stamp_joins_the_time_of_before_a_step_with_the_word_of_after_it():
    """A wall clock that is set and called good in one moment is seen so too, however the frames fall."""
    machine = Machine()
    machine.wait(40)
    clock = machine.clock()
    for tenth in range(30):
        if tenth == 7:
            machine.synchronise(max_error_us=1_000)
        stamp = clock.stamp()
        assert stamp.quality is TimeQuality.UNSYNCED or is_honest(stamp, machine.true_us)
        machine.wait(0.1)


def test_a_kernel_that_may_not_be_asked_means_unsynchronised_and_one_warning(caplog):
    machine = Machine()
    machine.wait(40)
    machine.synchronise()
    machine.answers = False
    clock = machine.clock()
    for _ in range(3):
        machine.wait(1)
        assert clock.stamp().quality is TimeQuality.UNSYNCED
        assert clock.stamp().utc_us == machine.true_us  # the wall clock is there, only nobody vouches for it
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    machine.answers = True
    machine.wait(1)
    assert clock.stamp().quality is TimeQuality.NTP


def test_two_clocks_that_cannot_be_read_together_cost_certainty_not_truth():
    machine = Machine()
    machine.wait(40)
    machine.synchronise(max_error_us=1_000)
    delay = itertools.cycle([0.0, 0.2])

    def monotonic_ns():
        machine.wait(next(delay))  # the machine is so busy that every other reading comes late
        return machine.monotonic_us * 1000

    clock = Clock(sources=replace(machine.sources(), monotonic_ns=monotonic_ns))
    stamp = clock.stamp()
    assert 100 <= stamp.uncertainty_ms <= 110
    assert abs(stamp.utc_us - stamp.monotonic_us - (machine.true_us - machine.monotonic_us)) <= 110_000


def test_a_start_without_anything_known_says_so():
    machine = Machine()
    machine.wait(5)
    clock = machine.clock()
    stamp = clock.stamp()
    assert clock.state is ClockState.NONE
    assert (stamp.utc_us, stamp.quality, stamp.uncertainty_ms) == (
        RELEASED_US + 5_000_000, TimeQuality.UNSYNCED, None,
    )  # fmt: skip
    facts = clock.facts()
    assert (facts["state"], facts["quality"], facts["uncertainty_ms"], facts["steps"]) == ("none", "unsynced", None, 0)
    assert "1970-01-01 00:00 UTC, when this program was not yet made" in facts["evidence"]


# --- T-60: boot at 1970, frames heard, NTP after ten minutes


@pytest.mark.parametrize("drift_ppm", [-95, -20, 0, 38.9, 95])
def test_frames_heard_at_1970_get_their_true_date_once_ntp_answers(drift_ppm):
    machine = Machine(drift_ppm=drift_ppm)
    machine.wait(8)
    clock = machine.clock()
    heard = hear(machine, clock, [], 60, every_s=10)
    assert {stamp.quality for stamp, _ in heard} == {TimeQuality.UNSYNCED}
    assert all(clock.dating.date(stamp) is stamp for stamp, _ in heard)
    machine.synchronise(wrong_by_us=-17_000)
    hear(machine, clock, heard, 60, every_s=10)
    dated = [clock.dating.date(stamp) for stamp, _ in heard]
    for (stamp, true_us), date in zip(heard, dated, strict=True):
        assert is_honest(date, true_us)
        assert date.uncertainty_ms < 500
        assert (date.boot_id, date.monotonic_us) == (stamp.boot_id, stamp.monotonic_us)
    assert [date.utc_us for date in dated] == sorted(date.utc_us for date in dated)
    assert {date.quality for date in dated[:60]} == {TimeQuality.CORRECTED}
    assert dated[60:] == [stamp for stamp, _ in heard[60:]]  # what was heard on a good clock is never substituted


def test_frames_of_an_earlier_run_of_the_daemon_in_the_same_boot_are_dated_too(tmp_path):
    machine = Machine()
    machine.wait(8)
    with machine.clock(tmp_path) as clock:
        ((early, true_us),) = hear(machine, clock, [])
    machine.wait(60)
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        assert is_honest(clock.dating.date(early), true_us)


def test_frames_of_an_earlier_boot_are_dated_by_that_boot_s_anchors_only(tmp_path):
    machine = Machine()
    with machine.clock(tmp_path) as clock:
        lost = hear(machine, clock, [], 5)
    machine.power_up(after_s=DAY_S)
    with machine.clock(tmp_path) as clock:
        found = hear(machine, clock, [], 5)
        machine.synchronise(max_error_us=20_000)
        hear(machine, clock, [])
    machine.power_up(after_s=DAY_S)
    with machine.clock(tmp_path) as clock:
        for stamp, true_us in found:
            assert is_honest(clock.dating.date(stamp), true_us)
        for stamp, _ in lost:
            assert clock.dating.date(stamp) is stamp


def test_a_power_cut_right_after_ntp_answered_does_not_cost_the_dates(tmp_path):
    machine = Machine()
    clock = machine.clock(tmp_path)
    heard = hear(machine, clock, [], 20)

    async def story():
        duty = asyncio.create_task(clock.keep())
        await asyncio.sleep(0)
        machine.synchronise(max_error_us=20_000)
        machine.wait(1)
        while not (tmp_path / "anchors").exists():
            await asyncio.sleep(0.02)
        duty.cancel()

    asyncio.run(story())
    machine.power_up(after_s=60)
    with machine.clock(tmp_path) as clock:
        assert all(is_honest(clock.dating.date(stamp), true_us) for stamp, true_us in heard)


# --- what is told when the time becomes known


def told_by(machine, folder, *, seconds=3, fails=0):
    """What a daemon tells the store while it runs for some seconds of its own."""
    told = []

    async def tell(backdating):
        told.append(backdating)
        if len(told) <= fails:
            raise OSError("the store cannot take it")

    async def story():
        with machine.clock(folder) as clock, pytest.MonkeyPatch.context() as patch:
            patch.setattr("asyncio.to_thread", in_this_thread)
            duty = asyncio.create_task(clock.keep(tell))
            for _ in range(seconds):
                await asyncio.sleep(1)
                machine.wait(1)
            duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)

    run_in_virtual_time(story())
    return told


async def in_this_thread(work, *arguments):
    return work(*arguments)


def test_of_each_boot_it_is_told_once_what_was_heard_before_its_time_was_known(tmp_path):
    machine = Machine()
    assert told_by(machine, tmp_path) == []
    machine.synchronise(max_error_us=20_000)
    known_us = machine.monotonic_us
    assert told_by(machine, tmp_path) == [Backdating(machine.boot_id, known_us)]
    assert told_by(machine, tmp_path) == []
    machine.lose_ntp()
    told_by(machine, tmp_path)
    machine.synchronise(max_error_us=20_000)
    assert told_by(machine, tmp_path) == []
    machine.power_up()
    machine.synchronise()
    assert told_by(machine, tmp_path) == [Backdating(machine.boot_id, 0)]


def test_what_could_not_be_done_when_it_was_told_is_told_again_after_a_restart(tmp_path):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    first = told_by(machine, tmp_path, fails=1)
    assert first == told_by(machine, tmp_path) == [Backdating(machine.boot_id, 0)]
    assert told_by(machine, tmp_path) == []


def test_what_is_told_is_on_disk_also_when_the_time_comes_while_that_is_at_work(tmp_path):
    """Else a power cut between the two leaves a boot of which some readings were corrected and the others never."""
    machine = Machine()
    told = []

    async def tell(backdating):
        told.append((backdating, remembered_dating(tmp_path).backdating(backdating.boot_id)))

    async def story():
        with machine.clock(tmp_path) as clock, pytest.MonkeyPatch.context() as patch:

            async def slowly(work, *arguments):
                done = work(*arguments)
                if arguments and not told:  # the first page is on its way to the disk
                    machine.wait(2)
                    machine.synchronise(max_error_us=20_000)
                    clock.stamp()  # somebody hears a frame
                return done

            patch.setattr("asyncio.to_thread", slowly)
            duty = asyncio.create_task(clock.keep(tell))
            await asyncio.sleep(5)
            duty.cancel()
            await asyncio.gather(duty, return_exceptions=True)

    run_in_virtual_time(story())
    assert [(one.boot_id, saved) for one, saved in told] == [(machine.boot_id, one) for one, _ in told]
    assert len(told) == 1


# --- T-61: steps


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S, TWENTY_YEARS_S, -1.0, 1.0])
@pytest.mark.parametrize("notices", [True, False])
def test_a_step_changes_no_distance_and_no_order(step_s, notices, caplog):
    machine = Machine()
    machine.wait(600)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    heard = hear(machine, clock, [], 5)
    machine.set_wall(step_s, notices=notices)
    hear(machine, clock, heard, 5)
    machine.set_wall(-step_s, notices=notices)
    hear(machine, clock, heard, 5)
    moments = [stamp.monotonic_us for stamp, _ in heard]
    assert [after - before for before, after in itertools.pairwise(moments)] == [1_000_000] * 14
    assert clock.steps == 2
    assert [record.levelname for record in caplog.records if "was set by" in record.getMessage()] == ["WARNING"]


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S, TWENTY_YEARS_S])
def test_while_somebody_plays_with_the_wall_clock_the_dates_stay_true(step_s):
    """settimeofday clears the kernel's word; from then on the date is carried on from the last good moment."""
    machine = Machine()
    machine.wait(600)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    heard = hear(machine, clock, [], 5)
    machine.set_wall(step_s)
    hear(machine, clock, heard, 5, every_s=600)
    assert clock.state is ClockState.HOLDOVER
    machine.set_wall(-step_s)
    machine.synchronise(max_error_us=20_000)
    hear(machine, clock, heard, 5)
    assert all(is_honest(clock.dating.date(stamp), true_us) for stamp, true_us in heard)
    assert [stamp.utc_us for stamp, _ in heard] == sorted(stamp.utc_us for stamp, _ in heard)


@pytest.mark.parametrize("step_s", [-HOUR_S, TWENTY_YEARS_S])
def test_a_step_into_the_impossible_is_refused_although_the_kernel_calls_it_synchronised(step_s):
    machine = Machine()
    machine.wait(600)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    hear(machine, clock, [])
    machine.set_wall(step_s, notices=False)
    for stamp, true_us in hear(machine, clock, [], 5, every_s=600):
        assert stamp.quality is TimeQuality.CORRECTED
        assert is_honest(stamp, true_us)
    assert "not believed" in clock.facts()["evidence"]
    machine.set_wall(-step_s, notices=False)
    ((stamp, true_us),) = hear(machine, clock, [])
    assert stamp.quality is TimeQuality.NTP
    assert is_honest(stamp, true_us)


def test_a_leap_second_is_a_step_like_any_other():
    machine = Machine()
    machine.wait(600)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    hear(machine, clock, [], 3)
    machine.set_wall(-1, notices=False)
    machine.true_us -= 1_000_000  # UTC itself repeats a second
    heard = hear(machine, clock, [], 3)
    assert all(is_honest(stamp, true_us) for stamp, true_us in heard)
    assert clock.steps == 1


def test_trust_is_anchored_on_both_sides_of_a_step():
    """Between the two nothing is known: whatever is heard there belongs to neither."""
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    hear(machine, clock, [], 100)
    machine.pause(HOUR_S)
    machine.synchronise(max_error_us=20_000)  # the client notices, and the kernel calls the clock good throughout
    hear(machine, clock, [], 100)
    first, before, after = clock.dating.anchors()
    assert (first.monotonic_us, before.monotonic_us, after.monotonic_us) == (0, 100_000_000, 101_000_000)
    assert after.utc_us - before.utc_us == 3_601_000_000
    assert not after.continues


def test_a_correction_of_a_few_hundred_milliseconds_is_no_step():
    machine = Machine()
    clock = machine.clock()
    for _ in range(10):
        machine.set_wall(0.4)
        hear(machine, clock, [])
    assert clock.steps == 0


def test_slewing_is_no_step():
    """The kernel slews by the rate of both clocks, so their difference stays."""
    machine = Machine(drift_ppm=500)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    hear(machine, clock, [], 1000)
    assert clock.steps == 0


def test_a_clock_that_is_set_every_second_does_not_fill_the_log(caplog):
    machine = Machine()
    clock = machine.clock()
    with caplog.at_level(logging.INFO):
        for number in range(100):
            machine.set_wall(10 * (-1) ** number)
            hear(machine, clock, [])
    assert clock.steps == 100
    assert len(caplog.records) == 1


# --- T-64: seven days without a network


def test_seven_days_of_reboots_without_network_keep_the_order_of_dates_and_claim_nothing(tmp_path):
    machine = Machine()
    machine.synchronise(wrong_by_us=900_000)  # as wrong as it says it may be
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [], 3)
    certain_us = machine.true_us - 1_000_000
    heard = []
    for _ in range(7):
        machine.power_up()
        with machine.clock(tmp_path) as clock:
            hear(machine, clock, heard, 24, every_s=HOUR_S)
            assert clock.state is ClockState.FLOOR
            assert not clock.state.is_known  # nothing may expire by such a date
    dates = [stamp.utc_us for stamp, _ in heard]
    assert dates == sorted(dates)
    for stamp, true_us in heard:
        assert (stamp.quality, stamp.uncertainty_ms) == (TimeQuality.UNSYNCED, None)
        assert certain_us <= stamp.utc_us <= true_us  # a floor never claims what is not certain
        assert clock.dating.date(stamp) is stamp
    machine.synchronise(max_error_us=20_000)
    ((stamp, true_us),) = hear(machine, clock, [])
    assert is_honest(stamp, true_us)
    assert is_honest(clock.dating.date(heard[-1][0]), heard[-1][1])
    assert clock.dating.date(heard[0][0]) is heard[0][0]


def test_the_floor_is_written_while_running_so_that_a_power_cut_costs_an_hour_at_most(tmp_path):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    killed = machine.clock(tmp_path)

    async def story():
        duty = asyncio.create_task(killed.keep())
        await asyncio.sleep(1)
        for _ in range(30):
            machine.wait(600)
            await asyncio.sleep(1)
        duty.cancel()
        assert machine.monotonic_us - killed.dating.latest(machine.boot_id).monotonic_us <= HOUR_S * 1e6

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asyncio.to_thread", in_this_thread)
        run_in_virtual_time(story())
    machine.power_up()
    with machine.clock(tmp_path) as clock:
        assert machine.true_us - 3700e6 <= clock.stamp().utc_us <= machine.true_us


def test_a_wall_clock_that_was_restored_from_a_file_is_not_believed_below_the_floor(tmp_path):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [], 10, every_s=HOUR_S)
    stopped_us = machine.true_us
    machine.power_up(wall_us=stopped_us - int(5 * HOUR_S * 1e6))  # fake-hwclock saved it hours ago
    clock = machine.clock(tmp_path)
    assert 0 <= stopped_us - clock.stamp().utc_us < 20e6  # what NTP, polled ten hours before, may have been off by
    assert "has already been" in clock.facts()["evidence"]


def test_a_wrong_floor_is_given_up_after_ntp_has_contradicted_it_for_a_day(tmp_path, caplog):
    machine = Machine()
    machine.synchronise(wrong_by_us=10 * 365 * 86_400_000_000, max_error_us=1)  # a liar
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [])
    machine.power_up(after_s=60)
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        assert clock.state is ClockState.FLOOR
        hours = []
        for _ in range(26):
            machine.synchronise(max_error_us=20_000)
            hear(machine, clock, hours, every_s=HOUR_S)
        given_up = CONTRADICTED_US // 3_600_000_000
        assert {stamp.quality for stamp, _ in hours[: given_up - 1]} == {TimeQuality.UNSYNCED}
        assert all(is_honest(stamp, true_us) for stamp, true_us in hours[given_up + 1 :])
        assert clock.state is ClockState.NTP
    assert "for a day: it is believed now" in caplog.text
    machine.power_up(after_s=60)
    with machine.clock(tmp_path) as clock:
        assert 0 <= machine.true_us - clock.stamp().utc_us < 120e6


def test_a_floor_older_than_this_version_does_not_make_older_times_believable(tmp_path):
    memory = TimeMemory(tmp_path)
    memory.save(memory.page([], Floor(RELEASED_US - 800 * 86_400_000_000, "0" * 32, 0)))
    machine = Machine()
    machine.set_wall(RELEASED_US / 1e6 - 400 * DAY_S)
    clock = machine.clock(tmp_path)
    assert (clock.state, clock.stamp().utc_us) == (ClockState.FLOOR, RELEASED_US)


def test_a_synchronised_clock_that_jumps_does_not_overrule_the_floor(tmp_path):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [])
    machine.power_up(after_s=60)
    clock = machine.clock(tmp_path)
    for hour in range(100):
        machine.synchronise(wrong_by_us=-int(DAY_S * 2e6) + hour % 10 * 1_000_000, max_error_us=1)
        hear(machine, clock, [], every_s=HOUR_S)
        assert clock.state is ClockState.FLOOR


def test_without_a_boot_id_each_run_is_a_boot_of_its_own_and_the_floor_does_not_run_ahead(tmp_path):
    """Where /proc is hidden: the clock since boot runs for days, the floor was reached a minute ago."""
    machine = Machine()
    machine.boot_id = None
    machine.wait(30 * DAY_S)
    machine.synchronise(max_error_us=20_000)
    boots = set()
    for _ in range(3):
        with machine.clock(tmp_path) as clock:
            ((stamp, true_us),) = hear(machine, clock, [], every_s=60)
            assert stamp.quality is TimeQuality.NTP
            assert is_honest(stamp, true_us)
            boots.add(stamp.boot_id)
    assert len(boots) == 3
    assert all(len(bytes.fromhex(boot_id)) == 16 for boot_id in boots)
    machine.lose_ntp()
    with machine.clock(tmp_path) as clock:
        assert clock.state is ClockState.FLOOR
        assert clock.stamp().utc_us <= machine.true_us


# --- T-65: sleep, stalls, pauses


def test_a_suspend_or_a_stopped_process_is_seen_by_the_clock_since_boot():
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    before = clock.stamp()
    machine.wait(600)
    after = clock.stamp()
    assert after.monotonic_us - before.monotonic_us == 600_000_000
    assert is_honest(after, machine.true_us)
    assert clock.steps == 0


def test_a_paused_virtual_machine_lies_until_ntp_notices_and_its_dates_say_so():
    machine = Machine()
    machine.wait(60)
    clock = machine.clock()
    heard = hear(machine, clock, [], 10)  # never knew the time before the pause
    machine.synchronise(max_error_us=20_000)
    hear(machine, clock, heard, 10)
    machine.lose_ntp()
    hear(machine, clock, heard, 10)
    machine.pause(HOUR_S)
    hear(machine, clock, heard, 10)
    machine.synchronise(max_error_us=20_000)
    hear(machine, clock, heard, 10)
    assert all(is_honest(clock.dating.date(stamp), true_us) for stamp, true_us in heard)


# --- holding over, GPS, battery


def test_a_lost_source_is_carried_on_by_a_growing_uncertainty_and_refined_when_it_is_back():
    machine = Machine(drift_ppm=-60)
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    heard = hear(machine, clock, [], 24, every_s=HOUR_S)  # the kernel gives up after nine hours
    assert clock.state is ClockState.HOLDOVER
    assert clock.state.is_known
    assert all(is_honest(stamp, true_us) for stamp, true_us in heard)
    carried = [stamp for stamp, _ in heard if stamp.quality is TimeQuality.CORRECTED]
    assert len(carried) > 10
    machine.synchronise(max_error_us=20_000)
    hear(machine, clock, [], every_s=2)
    refined = [clock.dating.date(stamp) for stamp in carried]
    assert all(is_honest(date, true_us) for date, (_, true_us) in zip(refined, heard[-len(carried) :], strict=True))
    assert refined[-1].uncertainty_ms < carried[-1].uncertainty_ms


def test_the_end_of_trust_is_an_anchor():
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    hear(machine, clock, [], 100)
    machine.lose_ntp()
    hear(machine, clock, [], 100)
    assert [anchor.monotonic_us for anchor in clock.dating.anchors()] == [0, 100_000_000]


def test_a_daemon_that_starts_again_without_network_carries_on_from_before(tmp_path):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [], 30, every_s=60)
    machine.lose_ntp()
    machine.set_wall(-HOUR_S)
    machine.wait(60)
    with machine.clock(tmp_path) as clock:
        assert clock.state is ClockState.HOLDOVER
        assert is_honest(clock.stamp(), machine.true_us)
        assert clock.dating.latest(machine.boot_id).monotonic_us == 1_800_000_000  # the stop, not the start


def test_a_fix_counts_from_the_moment_it_is_told():
    machine = Machine()
    clock = machine.clock()
    clock.gps_time(machine.true_us, 200, machine.monotonic_us)
    assert clock.stamp().quality is TimeQuality.GPS


def test_what_ntp_says_can_be_asked_while_gps_is_believed():
    machine = Machine()
    clock = machine.clock()
    assert clock.network() is None
    machine.synchronise(max_error_us=20_000)
    machine.wait(5)
    clock.gps_time(machine.true_us, 1, machine.monotonic_us)
    assert clock.stamp().quality is TimeQuality.GPS
    by_ntp = clock.network()
    assert (by_ntp.quality, by_ntp.monotonic_us) == (TimeQuality.NTP, clock.stamp().monotonic_us)
    assert abs(by_ntp.utc_us - machine.true_us) <= by_ntp.uncertainty_ms * 1000 < 60_000
    machine.lose_ntp()
    machine.wait(5)
    assert clock.stamp()
    assert clock.network() is None


def test_gps_tells_the_time_on_a_machine_at_1970_and_dates_what_was_heard_before():
    machine = Machine()
    machine.wait(60)
    clock = machine.clock()
    heard = hear(machine, clock, [], 5)
    assert clock.gps_time(machine.true_us + 150_000, 200, machine.monotonic_us)
    hear(machine, clock, heard, 5)
    assert clock.state is ClockState.GPS
    assert all(is_honest(clock.dating.date(stamp), true_us) for stamp, true_us in heard)
    machine.wait(120)
    hear(machine, clock, heard)
    assert clock.state is ClockState.HOLDOVER  # the fix was lost
    assert is_honest(*heard[-1])


def test_a_week_number_that_turned_over_is_refused_and_told_once(caplog):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    for _ in range(3):
        machine.wait(1)
        turned_us = machine.true_us - 1024 * 7 * int(DAY_S) * 1_000_000
        assert not clock.gps_time(turned_us, 200, machine.monotonic_us)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert clock.state is ClockState.NTP


def test_gps_and_ntp_that_contradict_each_other_are_told_once(caplog):
    machine = Machine()
    machine.synchronise(max_error_us=20_000)
    clock = machine.clock()
    for _ in range(5):
        machine.wait(1)
        clock.gps_time(machine.true_us + 18_000_000, 1, machine.monotonic_us)
        assert is_honest(clock.stamp(), machine.true_us)
    assert [record.getMessage() for record in caplog.records] == ["GPS and NTP are 18.000 s apart: NTP is believed"]


def test_a_battery_clock_dates_what_is_heard_and_says_how_old_its_word_is(tmp_path):
    machine = Machine()
    machine.battery_ahead_s = 0.4
    machine.synchronise(max_error_us=20_000)
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [])
    machine.power_up(after_s=30 * DAY_S)
    machine.battery_ahead_s = 0.4 + 30 * 1.5  # it gained a second and a half a day
    machine.set_wall(machine.battery_s())  # the kernel set the wall clock from it (hctosys)
    with machine.clock(tmp_path) as clock:
        heard = hear(machine, clock, [], 5, every_s=HOUR_S)
        assert clock.state is ClockState.RTC
        assert clock.state.is_known
        assert {stamp.quality for stamp, _ in heard} == {TimeQuality.RTC}
        assert all(is_honest(stamp, true_us) for stamp, true_us in heard)
        assert 50_000 < heard[0][0].uncertainty_ms < 70_000
        machine.synchronise(max_error_us=20_000)
        hear(machine, clock, [])
        dated = [clock.dating.date(stamp) for stamp, _ in heard]
    assert {date.quality for date in dated} == {TimeQuality.CORRECTED}
    assert all(is_honest(date, true_us) for date, (_, true_us) in zip(dated, heard, strict=True))


def test_a_battery_clock_whose_battery_is_empty_vouches_for_nothing(tmp_path):
    machine = Machine()
    machine.synchronise()
    with machine.clock(tmp_path) as clock:
        hear(machine, clock, [])
    machine.power_up(after_s=DAY_S)
    machine.battery_ahead_s = -machine.true_us / 1e6 + 5  # 1970, as the wall clock has it
    machine.wait(5)
    with machine.clock(tmp_path) as clock:
        assert clock.state is ClockState.FLOOR


# --- without a disk


def test_a_disk_that_refuses_costs_memory_across_power_cuts_and_nothing_else(tmp_path, caplog):
    if os.geteuid() == 0:
        (tmp_path / "anchors").mkdir()  # root writes into read-only folders
    else:
        tmp_path.chmod(0o500)
    machine = Machine()
    with machine.clock(tmp_path) as clock:
        heard = hear(machine, clock, [], 5)
        machine.synchronise(max_error_us=20_000)
        hear(machine, clock, [])
        assert all(is_honest(clock.dating.date(stamp), true_us) for stamp, true_us in heard)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


# --- everything at once


class Roof:
    """A machine, its clock, and all that happens to them; `heard` has each stamp with the true time."""

    def __init__(self, folder, chance, drift_ppm):
        self.folder = folder
        self.chance = chance
        self.machine = Machine(drift_ppm=drift_ppm)
        self.clock = self.machine.clock(folder)
        self.heard = []

    def hear(self):
        hear(self.machine, self.clock, self.heard, 3, every_s=self.chance.uniform(0.1, 2_000))

    def synchronise(self):
        error_us = self.chance.randrange(1, 900_000)
        self.machine.synchronise(wrong_by_us=self.chance.randrange(-error_us, error_us), max_error_us=error_us)

    def lose_ntp(self):
        self.machine.lose_ntp()

    def restart(self):
        if self.chance.random() < 0.5:
            self.clock.__exit__(None, None, None)  # else killed
        self.clock = self.machine.clock(self.folder)

    def cut_power(self):
        self.machine.power_up(after_s=self.chance.uniform(0, 10 * DAY_S))
        self.clock = self.machine.clock(self.folder)

    def reboot(self):
        self.clock.__exit__(None, None, None)
        self.cut_power()

    def set_back(self):
        self.machine.set_wall(-self.chance.uniform(0.01, 400 * DAY_S))

    def set_on(self):
        self.machine.set_wall(self.chance.uniform(0.01, 8_000 * DAY_S))

    def tell_gps(self):
        error_us = self.chance.randrange(-400_000, 400_000)
        self.clock.gps_time(self.machine.true_us + error_us, 400, self.machine.monotonic_us)

    def sleep(self):
        self.machine.wait(self.chance.uniform(0, 5 * DAY_S))


EVENTS = (
    Roof.hear, Roof.synchronise, Roof.lose_ntp, Roof.restart, Roof.cut_power, Roof.reboot, Roof.set_back, Roof.set_on,
    Roof.tell_gps, Roof.sleep,
)  # fmt: skip


@given(
    events=st.lists(st.just(Roof.hear) | st.sampled_from(EVENTS), min_size=5, max_size=40),
    seed=st.integers(0, 2**32), drift_ppm=st.integers(-90, 90),
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_whatever_happens_no_date_is_further_from_the_truth_than_it_says(tmp_path_factory, events, seed, drift_ppm):
    """Every order of events a roof has seen, but for sources that lie."""
    roof = Roof(tmp_path_factory.mktemp("clock"), random.Random(seed), drift_ppm)
    for event in events:
        event(roof)
    for stamp, true_us in roof.heard:
        for date in (stamp, roof.clock.dating.date(stamp)):
            assert (date.uncertainty_ms is None) == (date.quality is TimeQuality.UNSYNCED)
            assert date.uncertainty_ms is None or is_honest(date, true_us)
            assert RELEASED_US <= date.utc_us <= LATEST_US
    for _, stamps in itertools.groupby((stamp for stamp, _ in roof.heard), lambda stamp: stamp.boot_id):
        moments = [stamp.monotonic_us for stamp in stamps]
        assert moments == sorted(moments)
