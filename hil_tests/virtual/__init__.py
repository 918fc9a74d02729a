"""The virtual bench: a concentrator and AT modems on one simulated air, in a process of its own."""
