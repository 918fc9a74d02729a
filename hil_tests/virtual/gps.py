"""What a GPS receiver says of a second.

Source: NMEA 0183 as u-blox documents it ("u-blox 8 / M8 Receiver description", 31.2: RMC, GGA, and the check sum).
"""

from __future__ import annotations

from datetime import UTC, datetime

LATITUDE, LONGITUDE, ALTITUDE_M = 43.6119, 3.8772, 57.0


def sentence(body: str) -> bytes:
    """A sentence with its check sum: all bytes between `$` and `*`, one by one exclusive or."""
    total = 0
    for octet in body.encode("ascii"):
        total ^= octet
    return f"${body}*{total:02X}\r\n".encode("ascii")


def _degrees(value: float, digits: int, signs: str) -> str:
    whole, minutes = divmod(abs(value) * 60, 60)
    return f"{int(whole):0{digits}d}{minutes:08.5f},{signs[value < 0]}"


def sentences(unix_s: int) -> bytes:
    """RMC and GGA of this second, with a fix of ten satellites."""
    when = datetime.fromtimestamp(unix_s, UTC)
    clock, place = f"{when:%H%M%S}.00", f"{_degrees(LATITUDE, 2, 'NS')},{_degrees(LONGITUDE, 3, 'EW')}"
    return sentence(f"GNRMC,{clock},A,{place},0.0,,{when:%d%m%y},,,A") + sentence(
        f"GNGGA,{clock},{place},1,10,0.9,{ALTITUDE_M:.1f},M,49.0,M,,"
    )
