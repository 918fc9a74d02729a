"""The law and the channel plans, as tables."""
