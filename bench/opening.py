"""What `store.py` has a fresh process do: open a store and tell what that took, or write to one and die over it."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

from bench.fill import GATEWAY, MAX_BYTES, append, open_log
from bench.machine import peak_mib
from gateway.store.retention import Limits
from gateway.store.store import Store

_BEFORE_DEATH = 640  # records in commits of 64 that stay in the write-ahead log


def main(what: str, folder: Path) -> None:
    """Do it and print JSON."""
    if what == "open":
        limits = Limits(max_bytes=MAX_BYTES, max_age_s=30 * 86_400, keep_delivered_s=7 * 86_400)
        before_mib, began = peak_mib(), time.perf_counter()
        store = Store.open(folder, GATEWAY, commit_interval_s=1, limits=limits)
        took_s = time.perf_counter() - began
        print(json.dumps({"took_s": took_s, "grew_mib": peak_mib() - before_mib, "head": store.head}))
    else:
        record_log, _ = open_log(folder)
        body = next(body for _, body in record_log.bodies_after(record_log.head - 1) if body)
        for _ in range(_BEFORE_DEATH // 64):
            append(record_log, [body] * 64)
        print(json.dumps({"epoch": record_log.epoch}), flush=True)
    os._exit(0)  # as a kill: nothing is closed


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
