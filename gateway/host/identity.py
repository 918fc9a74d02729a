"""Which gateway this is when nobody said so."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gateway.model import GatewayEui

INTERFACES = Path("/sys/class/net")
MACHINE_ID = Path("/etc/machine-id")


def gateway_eui(interfaces: Path = INTERFACES, machine_id: Path = MACHINE_ID) -> GatewayEui:
    """An EUI that stays the same.

    The first network interface's MAC with fffe in its middle (EUI-64 of IEEE 802), as packet forwarders make it; on a
    machine without interfaces, a digest of its machine id with the local bit set.
    """
    for interface in sorted(interfaces.glob("*"), key=_usual_order):
        mac = _mac(interface)
        if mac is not None:
            return GatewayEui(mac[:3] + b"\xff\xfe" + mac[3:])
    try:
        identity = machine_id.read_bytes().strip()
    except OSError:
        identity = b""
    return GatewayEui(b"\x02" + hashlib.blake2s(identity, digest_size=7).digest())


def _usual_order(interface: Path) -> tuple[bool, bool, str]:
    """Real hardware first, wired before wireless: it is what is printed on the box."""
    return not (interface / "device").exists(), not interface.name.startswith("e"), interface.name


def _mac(interface: Path) -> bytes | None:
    try:
        mac = bytes.fromhex((interface / "address").read_text(encoding="ascii").strip().replace(":", ""))
    except (OSError, ValueError):
        return None
    return mac if len(mac) == 6 and any(mac) else None
