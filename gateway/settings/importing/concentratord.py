"""`concentratord.toml` of ChirpStack Concentratord, with its `channels.toml` and `region.toml`.

Keys are those of Concentratord 4.7.1 for the SX1302 and the SX1301 (src/config/mod.rs). Its names of boards are known
to our table of boards, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.settings.importing.channels import named_by_chirpstack
from gateway.settings.importing.draft import plain_eui
from gateway.settings.importing.hardware import Hardware, ListenChannel
from gateway.settings.toml_file import shown

if TYPE_CHECKING:
    from gateway.settings.importing.draft import Draft
    from gateway.settings.importing.foreign import Key, Sheet

_GW = "gateway"
_SX1301_MODELS = (
    "2245",
    "2246",
    "2247",
    "ic880a",
    "pisupply",
    "rhf0m301",
    "lorago",
    "lorix",
    "wifx",
    "mtac_lora",
    "ifemtocell",
    "sandbox",
    "sx1301",
)


def read_concentratord(sheet: Sheet, draft: Draft) -> Hardware:
    """Take over who and where the gateway is; what is said of the concentrator comes back."""
    draft.gateway_eui(sheet.get(_GW, "gateway_id"), plain_eui)
    location = (sheet.get(_GW, "location", name) for name in ("latitude", "longitude", "altitude"))
    draft.position(*location)
    draft.read(sheet.text(_GW, "region"), ("gateway", "region"), _region)
    for name, why in (
        ("log_level", "is about Concentratord's own log: ours goes to the journal"),
        ("log_to_syslog", "is about Concentratord's own log: ours goes to the journal"),
        ("stats_interval", "is set for each network server here: stats_interval, 30 s where nothing is said"),
        ("api", "is the way to Concentratord, whose place this gateway takes"),
    ):
        if name == "stats_interval" and (key := sheet.get("concentratord", name)) and key.value == "30s":
            draft.take(key)
        draft.leave_branch(sheet, "concentratord", name, why=why)
    crc = sheet.get("concentratord", "disable_crc_filter")
    if crc is not None and crc.value is False:
        draft.take(crc)
    draft.leave(crc, "cannot be switched on: only frames with a correct checksum are kept and go to servers")
    draft.take(sheet.get(_GW, "time_fallback_enabled"))  # frames carry the best time there is, and how good it is
    return _concentrator(sheet)


def _region(value: object) -> str:
    named = named_by_chirpstack(str(value))
    if named is None:
        raise ValueError(f"is {shown(value)}, which is no region known here")
    return named[0]


def _concentrator(sheet: Sheet) -> Hardware:
    model, flags = sheet.text(_GW, "model"), sheet.get(_GW, "model_flags")
    usb = flags is not None and isinstance(flags.value, list) and "USB" in flags.value
    name = str(model.value).lower() if model else ""
    old = any(part in name for part in _SX1301_MODELS) and "sx1302" not in name
    return Hardware(
        sheet,
        _GW,
        "Concentratord",
        chip="sx1301" if old else "sx1302",
        usb=usb or any(part in name for part in ("css", "gwc_02")),
        path=sheet.text(_GW, "com_dev_path"),
        gain=sheet.get(_GW, "antenna_gain"),
        model=model,
        channels=_channels(sheet.get(_GW, "concentrator", "multi_sf_channels")),
        service_bandwidth_hz=_bandwidth(sheet.get(_GW, "concentrator", "lora_std", "bandwidth")),
    )


def _channels(key: Key | None) -> list[ListenChannel]:
    if key is None or not isinstance(key.value, list):
        return []
    numbers = [value for value in key.value if isinstance(value, int) and not isinstance(value, bool)]
    return [ListenChannel(hz or None, (key,)) for hz in numbers]


def _bandwidth(key: Key | None) -> int | None:
    return key.value if key is not None and isinstance(key.value, int) and key.value else None
