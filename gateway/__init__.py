"""LoRaWAN edge gateway: from the antenna to the city's platform, and nothing lost on the way."""

__version__ = "0.1.0"
