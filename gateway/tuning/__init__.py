"""Whose channels the radio hears: the region's own, or those of a network server it is told to follow."""
