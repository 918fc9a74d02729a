"""The machine underneath."""
