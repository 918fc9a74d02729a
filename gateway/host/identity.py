"""Which gateway this is when nobody said so."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from gateway.model import GatewayEui

CHIP_EUI = "chip-eui"
"""The file of the data folder that keeps the number of the concentrator the gateway was first started with."""

INTERFACES = Path("/sys/class/net")
MACHINE_ID = Path("/etc/machine-id")


def chip_eui(folder: Path) -> GatewayEui | None:
    """The number of the concentrator this gateway began with, None where there was none or it had none.

    It is remembered because it is this gateway's name from then on: to network servers, and in each record. A board
    that is replaced does not change it; the setting does, or deleting the file.
    """
    try:
        return GatewayEui.parse((folder / CHIP_EUI).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def remember_chip_eui(folder: Path, eui: GatewayEui) -> None:
    """Keep it, as far as the disk takes it: else the chip is asked again next time."""
    with contextlib.suppress(OSError):
        (folder / CHIP_EUI).write_text(f"{eui}\n", encoding="ascii")


def own_eui(folder: Path) -> GatewayEui:
    """Which gateway this is, as far as this machine knows: by its concentrator, else by its network interface."""
    return chip_eui(folder) or gateway_eui()


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
