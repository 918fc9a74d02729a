"""Devices of a city that join over the air: from a scenario to end devices that live in a neighbourhood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.regions.eu868 import EU868
from gateway.simulator.end_device.mac import EndDevice
from gateway.simulator.end_device.profile import Habits, Profile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.model import Device, RootKeys
    from gateway.simulator.air import Position
    from gateway.simulator.chance import Chance
    from gateway.simulator.neighbourhood import Neighbourhood
    from gateway.simulator.sensors import Measure, Sensor

DEV_NONCE_S = 60
"""A city that starts again remembers nothing, and a DevNonce must not be used twice: so that counter stands where the
minutes since 1970 have brought it. It turns after 45 days."""

_DEV_NONCES = 1 << 16


@dataclass(frozen=True, slots=True)
class Joiner:
    """One device of a scenario that joins: what it is, where it hangs, and what it looks at."""

    device: Device
    root_keys: RootKeys
    sensor: Sensor
    position: Position
    wall_loss_db: float
    interval_us: int
    first_us: int  # when it asks first
    ours: bool  # False: nobody told this gateway about it

    def profile(self, start_utc_us: int) -> Profile:
        """The end device that this is, in a city whose time began then."""

        def report(now_us: int, f_cnt: int) -> Measure:
            return self.sensor.measure((start_utc_us + now_us) / 1_000_000, f_cnt)

        device = self.device
        return Profile(
            dev_eui=device.dev_eui,
            mac_version=device.mac_version,
            region=EU868,
            report=report,
            habits=Habits(interval_us=self.interval_us, first_us=self.first_us),
            device_class=device.device_class,
            join_eui=device.join_eui,
            root_keys=self.root_keys,
            first_dev_nonce=start_utc_us // (DEV_NONCE_S * 1_000_000) % _DEV_NONCES,
        )


def settle_joiners(
    joiners: Iterable[Joiner], neighbourhood: Neighbourhood, chance: Chance, *, start_utc_us: int
) -> None:
    """Let them live here. `start_utc_us` is the time of day when the air's clock was zero."""
    for joiner in joiners:
        device = EndDevice(joiner.profile(start_utc_us), chance.about("device", joiner.device.dev_eui))
        neighbourhood.settle(device, joiner.position, wall_loss_db=joiner.wall_loss_db)
