"""The gateway as a network: who is answered, with what, and what became of it."""
