"""What a device says of itself in DevStatusAns, as measurements beside those of its codec."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.lorawan.mac_commands import BATTERY_EXTERNAL, BATTERY_UNKNOWN, DevStatusAns, read_uplink_commands
from gateway.model import Measurement

if TYPE_CHECKING:
    from gateway.model import OpenedUplink, Reading

_FULL = 254  # TS001-1.0.4, 5.5: 1 is the lowest and 254 the highest level
_LOWEST = 1


def status_measurements(uplink: OpenedUplink) -> tuple[Measurement, ...]:
    """Battery (%) or external power, and the SNR (dB) at which the device heard the question; none without an answer.

    The level is the device's own: makers differ in how it follows the charge.
    """
    stream = uplink.payload if uplink.f_port == 0 else uplink.f_opts
    if not stream:
        return ()
    answers = [command for command in read_uplink_commands(stream).commands if isinstance(command, DevStatusAns)]
    if not answers:
        return ()
    status = answers[-1]
    margin = Measurement("link_margin", status.margin_db, "dB")
    if status.battery == BATTERY_UNKNOWN:
        return (margin,)
    if status.battery == BATTERY_EXTERNAL:
        return (Measurement("external_power", value=True, unit=""), margin)
    level = 100 * (status.battery - _LOWEST) / (_FULL - _LOWEST)
    return (Measurement("battery", round(level, 1), "%"), margin)


def reported_status(reading: Reading) -> DevStatusAns | None:
    """The DevStatusAns that came with a reading; None when there was none.

    FOpts of LoRaWAN 1.1 are encrypted and a reading carries no keys, so that these are known by the measurements made
    of them: a battery that the codec reports as well is the codec's then.
    """
    if reading.f_port == 0:
        answers = [
            command for command in read_uplink_commands(reading.payload).commands if type(command) is DevStatusAns
        ]
        return answers[-1] if answers else None
    if not reading.phy[_F_CTRL_AT : _F_CTRL_AT + 1] or not reading.phy[_F_CTRL_AT] & _F_OPTS_LEN:
        return None
    found = {measurement.quantity: measurement.value for measurement in reading.decoded.measurements}
    margin = found.get("link_margin")
    if not isinstance(margin, int | float) or not _LEAST_MARGIN_DB <= margin <= _MOST_MARGIN_DB:
        return None
    level = found.get("battery")
    if found.get("external_power") is True:
        battery = BATTERY_EXTERNAL
    elif isinstance(level, int | float) and 0 <= level <= 100:
        battery = round(level * (_FULL - _LOWEST) / 100) + _LOWEST
    else:
        battery = BATTERY_UNKNOWN
    return DevStatusAns(battery, round(margin))


_LEAST_MARGIN_DB, _MOST_MARGIN_DB = -32, 31  # six bits (TS001-1.0.4, 5.5)
_F_CTRL_AT, _F_OPTS_LEN = 5, 0x0F  # behind MHDR and DevAddr (TS001-1.0.4, 4.3.1)
