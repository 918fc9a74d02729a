"""Tests of the gateway on a bench: real concentrator and modems, or the same on a simulated air."""
