"""What `status` shows of a router_config: the plan, the filters, and what becomes of its words about the law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.lns.station_downlinks import region_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.wire.basics_station import RouterConfig


def plan_facts(config: RouterConfig) -> Mapping[str, Any]:
    """The plan as the server says it; `law` is a sentence, empty when the server touches nothing of it."""
    return {
        "region": config.region,
        "channels_hz": [channel.frequency_hz for channel in config.plan.channels],
        "net_ids": None if config.net_ids is None else [f"{net:06x}" for net in config.net_ids],
        "join_euis": [f"{low:016x}-{high:016x}" for low, high in config.join_euis],
        "max_eirp_dbm": config.max_eirp_dbm,
        "law": law(config),
    }


def law(config: RouterConfig) -> str:
    """What becomes of a server's words about the law: it can only tighten."""
    told = []
    if config.test_switches:
        switches = ", ".join(sorted(config.test_switches))
        told.append(f"{switches} not followed: the law of the region is kept")
    region = region_of(config.region)
    if config.max_eirp_dbm is not None and region is not None:
        most_dbm = max((band.max_eirp_dbm for band in region.sub_bands), default=0.0)
        if config.max_eirp_dbm < most_dbm:
            told.append(f"sends with at most {config.max_eirp_dbm:g} dBm EIRP, as the server says")
        else:
            told.append(f"max_eirp {config.max_eirp_dbm:g} dBm: the law of each sub-band allows no more than it did")
    return "; ".join(told)
