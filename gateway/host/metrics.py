"""What Prometheus reads: the state as `status --json` gives it, at the moment of the scrape.

No registry and no counters of its own, so that a graph and the console can never tell two stories. Names and units
follow https://prometheus.io/docs/practices/naming/ : seconds and bytes, `_total` behind what only grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import generate_latest

from gateway import __version__
from gateway.host.trust import ClockState
from gateway.model import TimeQuality

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format, which every version of it reads."""

CLOCK_STATES = tuple(ClockState)
RADIO_STATES = ("hearing", "waiting", "silent", "failed")
GPS_STATES = ("failed", "silent", "garbled", "no fix", "refused", "fix")
STORE_STATES = ("writing", "failing", "full")

PREFIX = "lorawan_gateway_"


@dataclass(frozen=True, slots=True)
class GatewayCollector:
    """A collector that asks for the state when it is asked itself."""

    status: Callable[[], Mapping[str, Any]]

    def collect(self) -> Iterator[Metric]:
        """Every metric family of this gateway."""
        status = self.status()
        yield from _itself(status)
        yield from _radio(status["radio"])
        yield from _clock(status["clock"])
        if status.get("gps"):
            yield from _gps(status["gps"], status["radio"])
        yield from _store(status["store"])
        yield from _sinks(status["sinks"])
        yield from _servers(status["lns"])


def exposition(status: Callable[[], Mapping[str, Any]]) -> bytes:
    """The state in Prometheus' text format, to be sent as CONTENT_TYPE."""
    return generate_latest(GatewayCollector(status))


def _itself(status: Mapping[str, Any]) -> Iterator[Metric]:
    build = {
        "version": status.get("version") or __version__,
        "gateway_eui": status["gateway_eui"],
        "gateway_name": status.get("gateway_name") or "",
    }
    yield InfoMetricFamily(f"{PREFIX}build", "Which gateway this is, and which version runs.", value=build)
    yield _gauge("uptime_seconds", "Since the daemon started.", status["uptime_s"])


def _radio(radio: Mapping[str, Any]) -> Iterator[Metric]:
    yield _counter("frames_heard", "Frames taken from the air, dropped ones included.", radio["heard"])
    filtered = CounterMetricFamily(
        f"{PREFIX}frames_filtered", "Frames that are no uplink of a device known here, by reason.", labels=["reason"]
    )
    reasons = dict(radio.get("refused") or {})
    if rest := radio["filtered"] - sum(reasons.values()):
        reasons["other"] = reasons.get("other", 0) + rest  # heard = filtered + stored + dropped holds here as well
    for reason, frames in sorted(reasons.items()):
        filtered.add_metric([str(reason)], frames)
    yield filtered
    yield _counter("frames_stored", "Uplinks written to the store.", radio["stored"])
    yield _counter("frames_dropped", "Frames lost inside the gateway because the line was full.", radio["dropped"])
    ignored = CounterMetricFamily(
        f"{PREFIX}radio_input_refused", "Input of the radio that was no frame at all, by reason.", labels=["reason"]
    )
    for reason, number in sorted((radio.get("input") or {}).items()):
        ignored.add_metric([str(reason)], number)
    yield ignored
    yield _one_of("radio_state", "What the radio is doing: 1 beside its state.", RADIO_STATES, radio["state"])
    if (age_s := radio.get("last_heard_s")) is not None:
        yield _gauge("radio_last_frame_age_seconds", "Since any frame was heard.", age_s)


def _clock(clock: Mapping[str, Any]) -> Iterator[Metric]:
    yield _one_of("clock_quality", "Where the time comes from: 1 beside it.", tuple(TimeQuality), clock["quality"])
    if (state := clock.get("state")) is not None:
        yield _one_of("clock_state", "What the time rests on: 1 beside it.", CLOCK_STATES, state)
    if (steps := clock.get("steps")) is not None:
        yield _counter("clock_steps", "How often the wall clock was set.", steps)
    if (uncertainty_ms := clock["uncertainty_ms"]) is not None:
        yield _gauge("clock_uncertainty_seconds", "How wrong the clock may be.", uncertainty_ms / 1000)


def _gps(gps: Mapping[str, Any], radio: Mapping[str, Any]) -> Iterator[Metric]:
    yield _one_of("gps_state", "What the GPS receiver is doing: 1 beside its state.", GPS_STATES, gps["state"])
    if (satellites := gps.get("satellites")) is not None:
        yield _gauge("gps_satellites", "Satellites that the fix rests on.", satellites)
    known = [one["gps_off_us"] for one in radio.get("receivers") or () if one.get("gps_off_us") is not None]
    if known:
        yield _gauge("gps_counter_error_seconds", "How far the counter may be off from GPS.", max(known) / 1_000_000)


def _store(store: Mapping[str, Any]) -> Iterator[Metric]:
    yield _gauge("store_bytes", "Size of the store on disk.", store["bytes"])
    if (most := store.get("max_bytes")) is not None:
        yield _gauge("store_limit_bytes", "What the store may grow to (store.max_size).", most)
    yield _gauge("store_records", "Readings in the store.", store["records"])
    yield _gauge("store_loss_window_seconds", "What a power cut would cost.", store["loss_window_ms"] / 1000)
    yield _gauge("store_quarantined_records", "Damaged records set aside.", store["quarantined"])
    yield _gauge(
        "store_balance_frames", "Frames the books cannot account for; anything but 0 is a fault.", store["balance"]
    )
    if (lost := store.get("lost")) is not None:
        yield _counter("store_lost_records", "Records that damage cost.", lost)
    state = store.get("state") or "writing"
    yield _one_of("store_state", "What the store is doing: 1 beside its state.", STORE_STATES, state)


SINK_FIGURES: tuple[tuple[str, str, str, type[CounterMetricFamily | GaugeMetricFamily]], ...] = (
    ("acknowledged", "sink_acknowledged", "Readings the destination has confirmed.", CounterMetricFamily),
    ("given_up", "sink_given_up", "Readings that will never arrive there.", CounterMetricFamily),
    ("queued", "sink_queued_records", "Readings that wait for the destination.", GaugeMetricFamily),
    ("oldest_age_s", "sink_oldest_age_seconds", "Age of the oldest reading that waits; 0: none.", GaugeMetricFamily),
    ("dead_letters", "sink_dead_letter_records", "Readings the destination refused, kept aside.", GaugeMetricFamily),
)
"""Key of `sinks[]`, metric, help, kind."""


def _sinks(sinks: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    sinks = list(sinks)
    for key, name, text, family_of in SINK_FIGURES:
        family = family_of(f"{PREFIX}{name}", text, labels=["sink"])
        for sink in sinks:
            family.add_metric([str(sink["name"])], sink[key] or 0)
        yield family
    yield _states("sink_state", "What the connection to a destination is doing: 1 beside its state.", sinks, "sink")


LNS_FIGURES: tuple[tuple[str, str, str], ...] = (
    ("forwarded", "lns_frames_forwarded", "Frames sent to the network server."),
    ("acknowledged", "lns_frames_acknowledged", "Of these, the frames it has acknowledged."),
    ("unanswered", "lns_frames_unanswered", "Of these, the frames that no answer came to in time."),
    ("filtered", "lns_frames_filtered", "Frames that are not for the network server by its filters."),
)
LNS_BREAKDOWNS: tuple[tuple[str, str, str, str], ...] = (
    ("missed", "lns_frames_missed", "Frames for the network server that were not sent, by reason.", "reason"),
    ("downlinks", "lns_downlinks", "Downlinks the network server asked for, by what became of them.", "result"),
    ("refused", "lns_refused", "What came from the network server and was not taken, by reason.", "reason"),
)
LNS_GAUGES: tuple[tuple[str, str, str, float], ...] = (
    ("last_contact_s", "lns_last_contact_age_seconds", "Since anything came from the network server.", 1.0),
    ("round_trip_ms", "lns_round_trip_seconds", "How soon the network server answers, smoothed.", 0.001),
)
"""Key of `lns[]`, metric, help, and the label of a breakdown or the unit in seconds. What a kind of server does not
know is left out: it is not 0."""


def _servers(servers: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    servers = list(servers)
    for key, name, text in LNS_FIGURES:
        family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=["lns"])
        for server in servers:
            if server.get(key) is not None:
                family.add_metric([str(server["name"])], server[key])
        yield family
    for key, name, text, label in LNS_BREAKDOWNS:
        family = CounterMetricFamily(f"{PREFIX}{name}", text, labels=["lns", label])
        for server in servers:
            for what, number in sorted((server.get(key) or {}).items()):
                family.add_metric([str(server["name"]), str(what)], number)
        yield family
    yield from _server_gauges(servers)
    yield _states("lns_state", "What a network server's connection is doing: 1 beside its state.", servers, "lns")


def _server_gauges(servers: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    for key, name, text, unit in LNS_GAUGES:
        gauge = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=["lns"])
        for server in servers:
            if server.get(key) is not None:
                gauge.add_metric([str(server["name"])], server[key] * unit)
        yield gauge
    airtime = GaugeMetricFamily(
        f"{PREFIX}lns_airtime_seconds",
        "Air time that downlinks of the network server have used within the hour, by receiver and sub-band.",
        labels=["lns", "receiver", "band"],
    )
    for server in servers:
        for use in server.get("airtime") or ():
            airtime.add_metric([str(server["name"]), str(use["receiver"]), str(use["band"])], use["used_s"])
    yield airtime


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"{PREFIX}{name}", text, value=value)


def _one_of(name: str, text: str, known: tuple[str, ...], state: str) -> Metric:
    """A sample for every state there is, 1 beside the one that holds, so that an alert can name it beforehand."""
    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=[name.rpartition("_")[2]])
    for one in dict.fromkeys((*known, state)):
        family.add_metric([str(one)], float(one == state))
    return family


def _states(name: str, text: str, links: Iterable[Mapping[str, Any]], label: str) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}{name}", text, labels=[label, "state"])
    for link in links:
        family.add_metric([str(link["name"]), str(link["state"])], 1.0)
    return family
