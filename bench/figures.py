"""A figure on one line: what was measured, what we aim at, and what it is held against in the same run."""

from __future__ import annotations


def heading(text: str) -> None:
    """The lines that follow belong together."""
    print(f"\n{text}", flush=True)


def show(what: str, figure: str, *, aim: str = "", beside: str = "") -> None:
    """One figure. `beside` names a limit or a peer, and the ratio to it."""
    print(f"  {what:<46} {figure:>16}   {aim and f'aim {aim}':<15} {beside}".rstrip(), flush=True)


def times(one: float, other: float) -> str:
    """How many times the other: `39 x`, `0.62 x`."""
    ratio = one / other if other else float("inf")
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2f} x"
