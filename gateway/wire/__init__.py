"""Formats others speak: bytes or JSON to values and back. Opens nothing, waits for nothing."""
