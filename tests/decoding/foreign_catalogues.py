"""Runs the codecs of other catalogues through our host and through Node.js, and both against their published examples.

    python tests/decoding/foreign_catalogues.py --ttn FOLDER --chirpstack FOLDER

The folders are copies of TheThingsNetwork/lorawan-devices and chirpstack/chirpstack-device-profiles; none of their code
is part of this repository. What comes out is a table of names and results, kept in `foreign_results.json`. The exit
code is 1 when a script gives an example's answer in Node.js and not here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gateway.decoding import chirpstack_devices, ttn_devices
from gateway.decoding.catalogue import Catalogue, Entry, read_entry
from gateway.decoding.examples import Asked, Example, difference
from gateway.decoding.foreign import write
from gateway.decoding.lane import Limits
from gateway.decoding.mapping import unix_s
from gateway.decoding.sandbox import Decoder
from gateway.decoding.workbench import examples_of
from gateway.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.decoding.foreign import ForeignDevice

RUNNER = Path(__file__).with_name("run_in_node.js")
RESULTS = Path(__file__).with_name("foreign_results.json")
VERBS = {Asked.UPLINK: "decode", Asked.DOWNLINK_DECODE: "decode_downlink", Asked.DOWNLINK_ENCODE: "encode"}
Json = dict[str, Any]


class Node:
    """Node.js, asked a line at a time."""

    def __init__(self) -> None:
        program = shutil.which("node")
        if program is None:
            raise SystemExit("Node.js is not installed: apt-get install nodejs")
        self.process = subprocess.Popen(
            [program, str(RUNNER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"TZ": "UTC"}
        )
        self.version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def run(self, script: Path, verb: str, given: Json, received_s: float | None) -> Json:
        """The result, or `{"errors": [...]}` when it threw."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        received_ms = None if received_s is None else received_s * 1000
        request = {"scripts": [str(script)], "verb": verb, "input": given, "received_ms": received_ms}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        told = json.loads(self.process.stdout.readline())
        result = told.get("result")
        return result if isinstance(result, dict) else {"errors": [f"failed: {told.get('threw', 'no object')}"]}

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def devices(ttn: Path | None, chirpstack: Path | None) -> Iterator[tuple[str, ForeignDevice]]:
    """Every codec of the folders, with the name it has in the table."""
    for file in sorted((ttn / "vendor").glob("*/*codec*.yaml")) if ttn else ():
        try:
            found = ttn_devices.read_device(file)
        except UsageError as problem:
            print(f"not read: {problem}", file=sys.stderr)
            continue
        yield f"ttn/{file.parent.name}/{file.stem}", replace(found, vendor=f"ttn-{found.vendor}", device=file.stem)
    for file in sorted((chirpstack / "vendors").glob("*/devices/*.toml")) if chirpstack else ():
        try:
            found = chirpstack_devices.read_device(file)
        except UsageError as problem:
            print(f"not read: {problem}", file=sys.stderr)
            continue
        yield f"chirpstack/{file.parent.parent.name}/{file.stem}", replace(found, vendor=f"cs-{found.vendor}")


async def compare(decoder: Decoder, entry: Entry, node: Node) -> Json:
    """How the examples of one codec come out."""
    row: Json = {"examples": 0, "node": 0, "ours": 0}
    for example in examples_of(entry)[0]:
        script = entry.script if example.asked is Asked.UPLINK else entry.downlink_script or entry.script
        received_s = None if example.recv_time is None else unix_s(example.recv_time)
        theirs = node.run(script.path, VERBS[example.asked], given(example), received_s)
        ours = await answer(decoder, entry, example, received_s)
        row["examples"] += 1
        row["node"] += unmet(example, theirs) is None
        row["ours"] += unmet(example, ours) is None
        if unmet(example, theirs) is None and (problem := unmet(example, ours)):
            row.setdefault("worse than Node.js", []).append(f"{example.name}: {problem}")
        if problem := unlike(theirs, ours):
            row.setdefault("unlike Node.js", []).append(f"{example.name}: {problem}")
    return row


def given(example: Example) -> Json:
    """The input, as our host builds it."""
    if example.asked is Asked.DOWNLINK_ENCODE:
        return {"variables": {}, **example.command}
    return {"bytes": list(example.payload), "fPort": example.f_port, "variables": dict(example.variables)}


async def answer(decoder: Decoder, entry: Entry, example: Example, received_s: float | None) -> Json:
    """What our host makes of it, by the names that examples use."""
    if example.asked is Asked.DOWNLINK_ENCODE:
        made = await decoder.encode_input(entry.name, example.command, {})
        payload = None if made.payload is None else list(made.payload)
        return {"bytes": payload, "fPort": made.f_port, "warnings": list(made.warnings), "errors": list(made.errors)}
    asked = (entry.name, example.payload, example.f_port or 1, example.variables, received_s)
    downlink = example.asked is Asked.DOWNLINK_DECODE
    found = await (decoder.decode_downlink(*asked) if downlink else decoder.answer(*asked))
    return {"data": found.data, "warnings": list(found.warnings), "errors": list(found.errors)}


def unmet(example: Example, found: Json) -> str | None:
    """What an answer lacks of the example. Where errors are wanted, the data beside them does not count."""
    for key in ("errors", "warnings"):
        if differs := difference(example.output.get(key) or [], found.get(key) or [], key):
            return differs
    for key in () if example.output.get("errors") else ("data", "bytes", "fPort"):
        if key in example.output and (differs := difference(example.output[key], found.get(key), key)):
            return differs
    return None


def unlike(theirs: Json, ours: Json) -> str | None:
    """Where the two engines' answers differ. That both threw is agreement, whatever words they use for it."""
    if theirs.get("errors") and ours["errors"]:
        return None
    if theirs.get("errors") or ours["errors"]:
        return f"Node.js: {theirs.get('errors')}, here: {ours['errors']}"[:300]
    keys = ("bytes",) if "bytes" in ours else ("data",)
    return next((differs for key in keys if (differs := difference(theirs.get(key), ours.get(key), key))), None)


async def compare_all(table: dict[str, Entry], node: Node) -> dict[str, Json]:
    """The rows of the table."""
    catalogue = Catalogue({entry.name: entry for entry in table.values()})
    async with Decoder(catalogue, replace(Limits(), cpu_s=1.0, wall_s=5.0)) as decoder:
        return {name: await compare(decoder, entry, node) for name, entry in table.items()}


def main() -> int:
    """Compare, print a summary, and write the table if wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ttn", type=Path, metavar="FOLDER")
    parser.add_argument("--ttn-copy", default="", metavar="OWNER/NAME@COMMIT", help="for the table")
    parser.add_argument("--chirpstack", type=Path, metavar="FOLDER")
    parser.add_argument("--chirpstack-copy", default="", metavar="OWNER/NAME@COMMIT", help="for the table")
    parser.add_argument("--write", action="store_true", help=f"keep the table in {RESULTS.name}")
    chosen = parser.parse_args()
    node = Node()
    with tempfile.TemporaryDirectory() as folder:
        table: dict[str, Entry] = {}
        for name, found in devices(chosen.ttn, chosen.chirpstack):
            entry, problems = read_entry(write(found, Path(folder), "sensor"))
            if entry is None:
                print(*problems, sep="\n", file=sys.stderr)
            else:
                table[name] = entry
        rows = asyncio.run(compare_all(table, node))
    node.close()
    told = summary(rows)
    print(json.dumps(told, indent=2))
    for name, row in rows.items():
        for problem in (*row.get("worse than Node.js", ()), *row.get("unlike Node.js", ())):
            print(f"{name}: {problem}")
    if chosen.write:
        sources = [
            {"catalogue": "TheThingsNetwork/lorawan-devices", "copy": chosen.ttn_copy},
            {"catalogue": "chirpstack/chirpstack-device-profiles", "copy": chosen.chirpstack_copy},
        ]
        engines = {"node": node.version, "quickjs-ng": version("quickjs-ng")}
        head = json.dumps({"sources": sources, "engines": engines, "summary": told}, indent=1)[1:-2]
        body = ",\n".join(f"  {json.dumps(name)}: {json.dumps(row, ensure_ascii=False)}" for name, row in rows.items())
        RESULTS.write_text(f'{{{head},\n "codecs": {{\n{body}\n }}\n}}\n', encoding="utf-8")
    return 1 if told["examples met by Node.js and not here"] else 0


def summary(rows: dict[str, Json]) -> Json:
    """The sums over a table."""
    tried = [row for row in rows.values() if row["examples"]]
    return {
        "codecs": len(rows),
        "codecs with examples": len(tried),
        "codecs that meet every example that Node.js meets": sum("worse than Node.js" not in row for row in tried),
        "examples": sum(row["examples"] for row in tried),
        "examples met by Node.js": sum(row["node"] for row in tried),
        "examples met here": sum(row["ours"] for row in tried),
        "examples met by Node.js and not here": sum(len(row.get("worse than Node.js", ())) for row in tried),
        "answers unlike those of Node.js": sum(len(row.get("unlike Node.js", ())) for row in tried),
    }


if __name__ == "__main__":
    sys.exit(main())
