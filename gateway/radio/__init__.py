"""Everything that hears and sends."""
