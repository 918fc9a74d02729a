"""What Prometheus reads, read back by Prometheus' own parser."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.host import metrics
from gateway.model import Refusal, TimeQuality

STATUS = {
    "gateway_eui": "0016c001ff10a235",
    "gateway_name": 'Toit "nord"\nMusée \\ Fabre',
    "version": "0.1.0",
    "uptime_s": 3600.5,
    "clock": {"quality": "ntp", "uncertainty_ms": 50},
    "gps": {"state": "fix", "satellites": 9},
    "radio": {
        "receivers": [{"name": "chip", "gps_off_us": 2}, {"name": "other", "gps_off_us": None}, {"name": "third"}],
        "type": "packet-forwarder",
        "state": "hearing",
        "evidence": "…",
        "heard": 100,
        "filtered": 30,
        "stored": 68,
        "dropped": 2,
        "refused": {Refusal.UNKNOWN_DEVICE: 20, Refusal.CRC_BAD: 9},
        "input": {"not_json": 3},
        "last_heard_s": 4.5,
    },
    "store": {
        "bytes": 4096,
        "records": 68,
        "loss_window_ms": 1000,
        "quarantined": 1,
        "balance": 0,
        "max_bytes": 1 << 32,
    },
    "sinks": [
        {
            "name": "toulouse",
            "state": "connected",
            "acknowledged": 60,
            "queued": 7,
            "given_up": 1,
            "oldest_age_s": 12.5,
            "dead_letters": 1,
        },
        {
            "name": "archive",
            "state": "paused",
            "acknowledged": 0,
            "queued": 68,
            "given_up": 0,
            "oldest_age_s": None,
            "dead_letters": 0,
        },
    ],
    "lns": [
        {"name": "ttn", "state": "connecting", "acknowledged": None, "round_trip_ms": None},
        {
            "name": "city",
            "state": "connected",
            "forwarded": 40,
            "acknowledged": 38,
            "missed": {"away": 3},
            "unanswered": 2,
            "filtered": 11,
            "round_trip_ms": 23.5,
            "last_contact_s": 4.2,
            "downlinks": {"SENT": 5, "TOO_LATE": 2},
            "refused": {"not_json": 1},
            "airtime": [{"receiver": "roof", "band": "g1", "used_s": 0.25, "left_s": 35.0, "limit_s": 36.0}],
        },
    ],
}


def read(status):
    text = metrics.exposition(lambda: status).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families, name, **labels):
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == f"lorawan_gateway_{name}" and sample.labels.items() >= labels.items()
    ]
    assert len(found) == 1, f"{name} {labels}: {found}"
    return found[0]


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("build_info", {"version": "0.1.0", "gateway_eui": "0016c001ff10a235"}, 1),
        ("uptime_seconds", {}, 3600.5),
        ("frames_heard_total", {}, 100),
        ("frames_filtered_total", {"reason": "unknown_device"}, 20),
        ("frames_filtered_total", {"reason": "crc_bad"}, 9),
        ("frames_stored_total", {}, 68),
        ("frames_dropped_total", {}, 2),
        ("radio_input_refused_total", {"reason": "not_json"}, 3),
        ("radio_state", {"state": "hearing"}, 1),
        ("radio_state", {"state": "silent"}, 0),
        ("radio_last_frame_age_seconds", {}, 4.5),
        ("clock_uncertainty_seconds", {}, 0.05),
        ("clock_quality", {"quality": "ntp"}, 1),
        ("gps_state", {"state": "fix"}, 1),
        ("gps_state", {"state": "no fix"}, 0),
        ("gps_satellites", {}, 9),
        ("gps_counter_error_seconds", {}, 2e-6),
        ("store_bytes", {}, 4096),
        ("store_limit_bytes", {}, 1 << 32),
        ("store_records", {}, 68),
        ("store_loss_window_seconds", {}, 1),
        ("store_quarantined_records", {}, 1),
        ("store_balance_frames", {}, 0),
        ("store_state", {"state": "writing"}, 1),
        ("sink_acknowledged_total", {"sink": "toulouse"}, 60),
        ("sink_queued_records", {"sink": "archive"}, 68),
        ("sink_given_up_total", {"sink": "toulouse"}, 1),
        ("sink_oldest_age_seconds", {"sink": "toulouse"}, 12.5),
        ("sink_oldest_age_seconds", {"sink": "archive"}, 0),
        ("sink_dead_letter_records", {"sink": "toulouse"}, 1),
        ("sink_state", {"sink": "archive", "state": "paused"}, 1),
        ("lns_state", {"lns": "ttn", "state": "connecting"}, 1),
        ("lns_frames_forwarded_total", {"lns": "city"}, 40),
        ("lns_frames_acknowledged_total", {}, 38),
        ("lns_frames_missed_total", {"lns": "city", "reason": "away"}, 3),
        ("lns_downlinks_total", {"lns": "city", "result": "TOO_LATE"}, 2),
        ("lns_frames_unanswered_total", {}, 2),
        ("lns_frames_filtered_total", {}, 11),
        ("lns_refused_total", {"lns": "city", "reason": "not_json"}, 1),
        ("lns_round_trip_seconds", {}, 0.0235),
        ("lns_last_contact_age_seconds", {}, 4.2),
        ("lns_airtime_seconds", {"lns": "city", "receiver": "roof", "band": "g1"}, 0.25),
    ],
)
def test_every_figure_of_the_state_is_there_in_base_units(name, labels, expected):
    assert value(read(STATUS), name, **labels) == expected


def test_the_books_balance_in_the_graphs_too():
    families = read(STATUS)
    filtered = sum(sample.value for sample in families["lorawan_gateway_frames_filtered"].samples)
    stored, dropped = value(families, "frames_stored_total"), value(families, "frames_dropped_total")
    assert value(families, "frames_heard_total") == filtered + stored + dropped


def test_frames_filtered_for_no_known_reason_are_counted_as_other():
    assert value(read(STATUS), "frames_filtered_total", reason="other") == 1


def test_hostile_names_arrive_whole():
    families = read(STATUS)
    assert value(families, "build_info", gateway_name=STATUS["gateway_name"]) == 1


def test_what_grows_is_a_counter_and_what_moves_a_gauge():
    for family in read(STATUS).values():
        ends = {sample.name.endswith("_total") for sample in family.samples}
        assert ends <= {family.type == "counter"}, family.name
        assert family.documentation


def test_an_alert_can_name_every_state_beforehand():
    families = read(STATUS)
    assert {s.labels["quality"] for s in families["lorawan_gateway_clock_quality"].samples} == set(TimeQuality)
    assert {s.labels["state"] for s in families["lorawan_gateway_radio_state"].samples} == set(metrics.RADIO_STATES)


def test_what_is_not_known_is_left_out():
    bare = {
        **STATUS,
        "clock": {"quality": "unsynced", "uncertainty_ms": None},
        "radio": {
            key: known for key, known in STATUS["radio"].items() if key not in {"refused", "input", "last_heard_s"}
        },
        "sinks": [],
        "lns": [],
    }
    families = read(bare)
    assert "lorawan_gateway_clock_uncertainty_seconds" not in families
    assert "lorawan_gateway_radio_last_frame_age_seconds" not in families
    assert value(families, "frames_filtered_total", reason="other") == 30


def test_a_state_nobody_foresaw_is_shown_as_it_is():
    odd = {**STATUS, "radio": {**STATUS["radio"], "state": "rebooting"}}
    assert value(read(odd), "radio_state", state="rebooting") == 1
    assert value(read(odd), "radio_state", state="hearing") == 0


def test_the_state_is_asked_anew_at_every_scrape():
    status = {**STATUS, "uptime_s": 1.0}
    assert value(read(status), "uptime_seconds") == 1
    status["uptime_s"] = 2.0
    assert value(read(status), "uptime_seconds") == 2
