"""What a decode costs through the sandbox, against Node.js itself; memory of many scripts; start of a worker."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import heading, show, times
from bench.machine import cpu_s, memory_mib
from gateway.decoding.catalogue import Catalogue
from gateway.decoding.sandbox import Decoder

if TYPE_CHECKING:
    from collections.abc import Mapping

DECODES = 4000
PAYLOAD = bytes.fromhex("01671001026832037562")
RUNNER = Path(__file__).with_name("codecs_in_node.js")

# As vendors write them: a loop over channels and types, a branch for each. Published scripts have 3 to 30 kB, the
# largest 100 kB; what is never taken is compiled all the same.
_HEAD = """
function decodeUplink(input) {
  var bytes = input.bytes, decoded = {}, i = 0;
  while (i < bytes.length) {
    var channel = bytes[i++], type = bytes[i++];
    if (channel === 0x01 && type === 0x67) { decoded.temperature = readInt16LE(bytes.slice(i, i + 2)) / 10; i += 2; }
    else if (channel === 0x02 && type === 0x68) { decoded.humidity = bytes[i] / 2; i += 1; }
    else if (channel === 0x03 && type === 0x75) { decoded.battery = bytes[i]; i += 1; }
"""
_BRANCH = """
    // Channel {n}: the history of a value, with its time
    else if (channel === 0x20 && type === {n}) {{
      var point = {{}};
      point.timestamp = readInt16LE(bytes.slice(i, i + 2)) * 60;
      point.value_{n} = (readInt16LE(bytes.slice(i + 2, i + 4)) - {n}) / 10;
      decoded.history_{n} = decoded.history_{n} || [];
      decoded.history_{n}.push(point);
      i += 4;
    }}
"""
_TAIL = """
    else { break; }
  }
  return { data: decoded };
}
function readInt16LE(bytes) { var value = (bytes[1] << 8) + bytes[0]; return value > 0x7fff ? value - 0x10000 : value; }
"""
_PYTHON = """
def decode(payload, port, variables):
    return {"data": {"temperature": int.from_bytes(payload[2:4], "little", signed=True) / 10,
                     "humidity": payload[6] / 2, "battery": payload[9]}}
"""


def vendor_like(size: int) -> str:
    """A script of about that many bytes."""
    branches: list[str] = []
    while len(_HEAD) + len(_TAIL) + sum(map(len, branches)) < size:
        branches.append(_BRANCH.format(n=len(branches)))
    return _HEAD + "".join(branches) + _TAIL


def run() -> None:
    """Print the figures."""
    heading("codecs, each message in a context of its own, through the sandbox; daemon and worker on one core")
    sizes = {"small": 1000, "median": 10_000, "large": 100_000}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for script, size in sizes.items():
            _write(folder, script, f"{script}.js", vendor_like(size))
        _write(folder, "python", "python.py", _PYTHON)
        catalogue = Catalogue.load([folder])
        for script in sizes:
            _show_script(folder, catalogue, script)
        wall_us, cpu_us = _decode_us(catalogue, "bench/python", DECODES)
        show("Python codec", f"{wall_us:,.0f} us", beside=f"{1e6 / wall_us:,.0f}/s; processor {cpu_us:,.0f} us")
        _show_memory(folder)
        _show_start(catalogue)


def _write(folder: Path, device: str, file: str, source: str) -> None:
    own = folder / "bench" / device
    own.mkdir(parents=True)
    (own / "device.toml").write_text(f'model = "{device}"\nkind = "bench"\n')
    (own / file).write_text(source)


def _show_script(folder: Path, catalogue: Catalogue, script: str) -> None:
    path = folder / "bench" / script / f"{script}.js"
    size = path.stat().st_size
    wall_us, cpu_us = _decode_us(catalogue, f"bench/{script}", DECODES if size < 50_000 else DECODES // 10)
    node = _node(path)
    beside = f"{1e6 / wall_us:,.0f}/s; processor {cpu_us:,.0f} us"
    if node:
        fresh, call = node["fresh_us"], node["call_us"]
        beside += f"; Node.js in-process, fresh context {fresh:,.0f} us: {times(wall_us, fresh)}; kept {call:.1f} us"
    show(f"{script} script, {size / 1000:.0f} kB", f"{wall_us:,.0f} us", aim="2,000/s", beside=beside)


def _decode_us(catalogue: Catalogue, codec: str, count: int) -> tuple[float, float]:
    """Microseconds a decode, on the wall and of the processor, with the daemon's and its worker's part on one core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        return asyncio.run(_decode_all(catalogue, codec, count))
    finally:
        os.sched_setaffinity(0, cores)


async def _decode_all(catalogue: Catalogue, codec: str, count: int) -> tuple[float, float]:
    async with Decoder(catalogue) as decoder:

        async def each() -> None:
            answer = await decoder.answer(codec, PAYLOAD, 85, {}, 1_773_468_000.0)
            assert answer.data == {"temperature": 27.2, "humidity": 25, "battery": 98}, answer

        await each()
        before = cpu_s(os.getpid())
        began = time.perf_counter()
        for _ in range(count // 100):
            await asyncio.gather(*(each() for _ in range(100)))
        wall_s = time.perf_counter() - began
        return wall_s / count * 1e6, (cpu_s(os.getpid()) - before) / count * 1e6


def _node(path: Path) -> Mapping[str, float]:
    program = shutil.which("node")
    if program is None:
        return {}
    told = subprocess.run([program, str(RUNNER), str(path), PAYLOAD.hex()], capture_output=True, text=True, check=True)
    found: Mapping[str, float] = json.loads(told.stdout)
    return found


def _show_memory(folder: Path) -> None:
    source = vendor_like(10_000)
    for number in range(100):
        _write(folder / "many", f"script{number}", "script.js", f"// {number}\n{source}")
    mib, workers = asyncio.run(_memory_mib(Catalogue.load([folder / "many"])))
    show("100 scripts loaded and used", f"{mib:.0f} MiB", aim="100 MB", beside=f"in {workers} worker processes")


async def _memory_mib(catalogue: Catalogue) -> tuple[float, int]:
    async with Decoder(catalogue) as decoder:
        for _ in range(3):
            await asyncio.gather(*(decoder.answer(name, PAYLOAD, 85, {}, None) for name in catalogue.entries))
        pids = {health.pid for health in decoder.health() if health.pid is not None}
        return sum(map(memory_mib, pids)), len(pids)


def _show_start(catalogue: Catalogue) -> None:
    async def once() -> float:
        async with Decoder(catalogue) as decoder:
            began = time.perf_counter()
            await decoder.answer("bench/median", PAYLOAD, 85, {}, None)
            return time.perf_counter() - began

    show("first answer of a new worker", f"{min(asyncio.run(once()) for _ in range(5)) * 1000:.0f} ms", aim="100 ms")
