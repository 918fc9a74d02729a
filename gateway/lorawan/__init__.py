"""Bytes and values of LoRaWAN. Opens nothing, waits for nothing."""
