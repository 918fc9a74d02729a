"""A daemon to look at: it hears, keeps and delivers in memory, and can be put into every kind of trouble."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from gateway.console.feed import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

GATEWAY = "0016c001ff10a235"


def measured(quantity: str, value: object, unit: str = "", **more: object) -> dict[str, Any]:
    return {"quantity": quantity, "value": value, "unit": unit, **more}


class StandIn:
    """A `View` whose books are right: what was heard is filtered or stored, what was stored is delivered or waits."""

    def __init__(self, *sinks: str) -> None:
        self.radio: dict[str, Any] = {
            "type": "packet-forwarder",
            "state": "hearing",
            "evidence": "0016c001ff10a235 calls from 127.0.0.1:40112, its chip hears.",
            "dropped": 0,
        }
        self.clock: dict[str, Any] = {"quality": "ntp", "uncertainty_ms": 50}
        self.gps: dict[str, Any] | None = None
        self.position: dict[str, Any] | None = None
        self.store: dict[str, Any] = {"loss_window_ms": 1000, "quarantined": 0, "balance": 0, "max_bytes": 4 << 30}
        self.sinks = {
            name: {
                "name": name,
                "state": "connected",
                "acknowledged": 0,
                "queued": 0,
                "given_up": 0,
                "oldest_age_s": None,
                "dead_letters": 0,
            }
            for name in sinks
        }
        self.lns: list[dict[str, Any]] = []
        self.stored = 0
        self.refused: Counter[str] = Counter()
        self.name = "Musée Fabre, toit"
        self.uptime_s = 273_840.0
        self.feed: Feed[dict[str, Any]] = Feed(lambda reading: reading)
        self.looked = 0

    # --- the View ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        self.looked += 1
        filtered = self.refused.total()
        return {
            "gateway_eui": GATEWAY,
            "gateway_name": self.name,
            "version": "0.1.0",
            "uptime_s": self.uptime_s,
            "clock": self.clock,
            "gps": self.gps,
            "position": self.position,
            "radio": {
                **self.radio,
                "heard": filtered + self.stored + self.radio["dropped"],
                "filtered": filtered,
                "stored": self.stored,
                "refused": dict(self.refused),
            },
            "store": {"bytes": 4096 + 700 * self.stored, "records": self.stored, **self.store},
            "sinks": list(self.sinks.values()),
            "lns": self.lns,
        }

    def recent(self) -> list[dict[str, Any]]:
        return self.feed.recent()

    def follow(self, *, raw: bool = False) -> AsyncGenerator[dict[str, Any], None]:
        return self.feed.follow(raw=raw)

    # --- what happens -----------------------------------------------------------------------------------------------

    def refuse(self, reason: str, frames: int = 1) -> None:
        self.refused[reason] += frames

    def hear(
        self, name: str = "PAV Antigone 12", *found: dict[str, Any], ago_s: float = 0, **more: Any
    ) -> dict[str, Any]:
        self.stored += 1
        for sink in self.sinks.values():
            sink["acknowledged" if sink["state"] == "connected" else "queued"] += 1
        heard = datetime.now(UTC) - timedelta(seconds=ago_s)
        radio = {
            "frequency_hz": 868_100_000,
            "modulation": "LORA",
            "spreading_factor": 7,
            "bandwidth_hz": 125_000,
            "coding_rate": "4/5",
            "rssi_dbm": -97,
            "snr_db": 5.2,
            "channel": 2,
            "rf_chain": 0,
        }
        reading = {
            "id": hashlib.blake2s(str(self.stored).encode(), digest_size=16).hexdigest(),
            "record_id": f"{GATEWAY}-5be10000-{self.stored}",
            "gateway_eui": GATEWAY,
            "time": heard.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "time_quality": "ntp",
            "time_uncertainty_ms": 50,
            "dev_eui": "70b3d57ed0" + hashlib.blake2s(name.encode("utf-8", "replace"), digest_size=3).hexdigest(),
            "dev_addr": "26011bda",
            "name": name,
            "tags": {"kind": "glass"},
            "codec": "heyliot/heywaste@1",
            "f_cnt": 41 + self.stored,
            "f_port": 2,
            "confirmed": False,
            "adr": True,
            "payload": "1101f4",
            "data": {},
            "measurements": list(found or [measured("fill_level", 83.3, "%"), measured("distance", 500, "mm")]),
            "warnings": [],
            "problem": None,
            "late": False,
            "gap_before": 0,
            **more,
            "radio": {**radio, **more.get("radio", {})},
        }
        self.feed.publish(reading)
        return reading

    def overhear(self) -> None:
        """A frame of a device that nobody added."""
        self.refuse("unknown_device")
        self.feed.publish({"dev_eui": None, "dev_addr": "01abcdef", "payload": "40efcdab01"}, opened=False)

    # --- trouble ----------------------------------------------------------------------------------------------------

    def silence_radio(self) -> None:
        self.radio |= {
            "state": "silent",
            "evidence": "No packet forwarder has called for 47 min; the last was 0016c001ff10a235 at 127.0.0.1:40112.",
            "last_heard_s": 47 * 60 + 12,
        }

    def lose_sink(self, name: str, queued: int = 340, oldest_age_s: float = 7_260) -> None:
        sink = self.sinks[name]
        taken = min(queued, sink["acknowledged"])
        sink.update(
            state="unreachable",
            evidence="mqtts://broker.example.org:8883: no route to host",
            acknowledged=sink["acknowledged"] - taken,
            queued=sink["queued"] + taken,
            oldest_age_s=oldest_age_s,
        )

    def fill_disk(self) -> None:
        self.store |= {
            "state": "failing",
            "bytes": 4 << 30,
            "evidence": "the disk refuses: database or disk is full; records wait in memory",
        }


def city() -> StandIn:
    """A site on an ordinary afternoon."""
    daemon = StandIn("toulouse-platform", "musee-archive")
    daemon.stored = 18_204
    daemon.sinks["toulouse-platform"]["acknowledged"] = 18_204
    daemon.sinks["musee-archive"]["acknowledged"] = 18_204
    for reason, frames in OTHERS.items():
        daemon.refuse(reason, frames)
    daemon.lns = [{"name": "ttn-community", "state": "connected"}]
    daemon.hear("Compteur Port Marianne 4", *METER, ago_s=1_500, radio=heard(12, -121, -14.5))
    daemon.hear("Salle 3, vitrine nord", *ROOM, ago_s=910, radio=heard(9, -84, 9.5))
    daemon.hear("Compteur Figuerolles 11", *LEAKING, ago_s=610, radio=heard(11, -119, -8))
    daemon.hear(
        "PAV Gambetta 2",
        problem="range status 4: phase out of bounds, no distance",
        measurements=[],
        warnings=["distance is above 4000 mm"],
        gap_before=3,
        ago_s=300,
    )
    daemon.hear("PAV Antigone 12", ago_s=42)
    return daemon


def heard(spreading_factor: int, rssi_dbm: float, snr_db: float) -> dict[str, Any]:
    return {"spreading_factor": spreading_factor, "rssi_dbm": rssi_dbm, "snr_db": snr_db}


OTHERS = {"unknown_device": 4_112, "crc_bad": 311, "bad_mic": 18, "repetition": 96, "join_not_served": 7}
METER = [measured("volume", 1204.387, "m3"), measured("flow", 0.012, "m3/h"), measured("leak", False)]
ROOM = [
    measured("temperature", -0.4, "°C"),
    measured("humidity", 48.52, "%"),
    measured("co2", 1204, "ppm"),
    measured("battery", 71, "%"),
]
LEAKING = [
    measured("leak", True),
    measured("low_battery", True),
    measured("volume", 88.2, "m3"),
    *(measured("volume", 80 + hour, "m3", time=f"2026-11-23T{hour:02}:00:00Z") for hour in range(24)),
]
