"""What the console asks of the running daemon, and nothing more: its state now, and its readings as they come.

`View.status()` has the shape that `status --json` promises (contract, section 2):

    gateway_eui  str, 16 lower hex           uptime_s  seconds
    clock        {quality, uncertainty_ms}   quality: `model.TimeQuality`; uncertainty_ms None when nobody can say
    radio        {type, state, evidence, heard, filtered, stored, dropped}
                                             state: `hearing`, `waiting`, `silent`, `failed`; evidence: a sentence
    store        {bytes, records, loss_window_ms, quarantined, balance}
    sinks        [{name, state, acknowledged, queued, given_up, oldest_age_s, dead_letters}]
    lns          [{name, state}]             state of sinks and lns: see `verdict.LINK_STATES`

The console shows more where there is more. Each of these keys may be missing or None:

    gateway_name, version                    str
    clock.state         what the time rests on: `none`, `floor`, `rtc`, `holdover`, `ntp`, `gps` (host/trust.py)
    clock.evidence      the same in a sentence; clock.steps: how often the wall clock was set since the start
    gps                 {state, evidence, hint, satellites, …} of the receiver; None where the settings name none;
                        state: `failed`, `silent`, `garbled`, `no fix`, `refused`, `fix` (gps/receiver.py)
    position            {latitude, longitude, altitude_m, source, accuracy_m}; source: `gps`, `settings`
    radio.refused       {reason: frames}     why frames were filtered; the reasons are `model.Refusal`
    radio.input         {reason: count}      input of the radio that was no frame at all
    radio.dropped_by_cause                   {cause: frames}
    radio.last_heard_s  seconds since the last frame, whoever sent it; None: none since the start
    radio.hint, store.hint, sinks[].hint, lns[].hint          what to do now, in a sentence; replaces our own advice
    store.state         `writing`, `failing` (the disk refuses, readings wait in memory), `full`; writing when missing
    store.evidence, sinks[].evidence, lns[].evidence          what went wrong, in a sentence
    store.max_bytes     the bound of `store.max_size`
    radio.reread        readings made again of what was kept, by later keys or codecs; counted as heard and stored again
    store.gaps          counters that were never heard, of what was kept since the start
    store.losses, sinks[].losses             {reason: records} never stored; never delivered there
    sinks[].paused, sinks[].resent           held by hand; records sent once more
    store.lost          records that damage cost
    lns[].type, lns[].server                 what it speaks, and where it is
    lns[].forwarded     frames sent there; of these `acknowledged` or `unanswered` (acknowledged_share: 0 to 1); the
                        three are None where the protocol acknowledges nothing
    lns[].missed        {reason: frames}     frames for it that were not sent; lns[].filtered: frames not for it
    lns[].round_trip_ms, lns[].last_contact_s                 how soon it answers, and when it did last
    lns[].downlinks     {result: downlinks}  what became of those it asked for: `model.TxResult`, or its protocol's word
    lns[].refused       {reason: messages}   what came from it and was not taken
    lns[].airtime, network.airtime           [{receiver, band, used_s, left_s, limit_s}]: of the hour of each sub-band
                                             that was sent in, what this one has used, and what is left for all

A reading is a JSON object as in contract, section 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence


class View(Protocol):
    """The daemon as the console sees it. All answers come from memory, at once: a page never waits for a disk."""

    def status(self) -> dict[str, Any]:
        """The state now, shaped as the module says; JSON values only."""
        ...

    def recent(self) -> Sequence[dict[str, Any]]:
        """The latest readings, newest first, about fifty."""
        ...

    def follow(self, *, raw: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        """Readings as they come, from the first `anext` on; with `raw` each packet, and what becomes of it.

        With `raw` each object says in `event` what it is (`wire.trace_json`); a frame of nobody's has no `dev_eui`.

        Bounded: a reader that is too slow loses the oldest and gets `{"missed": number}` in their place. Closing it
        (`aclose`) ends it. `feed.Feed` is one.
        """
        ...
