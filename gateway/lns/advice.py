"""What a technician can do where a network server is not had: the hint beside the evidence.

Our sentences about trouble have two halves: what is wrong; what to do about it. Here they are taken apart.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

CHECK_WAY: Final = "Check the cable or modem of this gateway, and that the address in server is right."

_NO_WAY: Final = frozenset(
    {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
)


def parted(words: str, otherwise: str = "") -> tuple[str, str]:
    """What is wrong, and what to do: the second half of the sentence as one of its own, or `otherwise`."""
    wrong, _, advice = words.partition("; ")
    return wrong, as_sentence(advice) or otherwise


def as_sentence(words: str) -> str:
    """With a capital and a full stop; empty stays empty."""
    if not words:
        return ""
    return words[0].upper() + words[1:] + ("" if words.endswith((".", "?")) else ".")


def udp_advice(error: OSError, host: str, port: int) -> str:
    """What to do when a datagram socket says this."""
    match error:
        case socket.gaierror(errno=socket.EAI_AGAIN):
            return "No name server answers: is this gateway online? Check the cable or modem, then its DNS."
        case socket.gaierror():
            return f"Nobody knows the name {host}: check server in the settings."
        case ConnectionRefusedError():
            return f"The machine is there, and no program takes UDP on port {port}: check the port, and the server."
        case OSError(errno=number) if number in _NO_WAY:
            return "There is no way there: check the cable or modem of this gateway."
        case _:
            return CHECK_WAY


def silence_advice(port: int, gateway_eui: str) -> str:
    """What to do when nothing comes back over UDP, which does not say why."""
    return (
        f"UDP does not say why. Check host and port, that no firewall on the way swallows UDP {port}, "
        f"and that the server knows this gateway as {gateway_eui}."
    )
