"""LoRaWAN edge gateway: from the antenna to the city's platform, and nothing lost on the way."""

__version__ = "0.1.0"

RELEASED = "2026-11-01"
"""The day this version was made: a clock that says less is wrong (host/trust.py)."""
