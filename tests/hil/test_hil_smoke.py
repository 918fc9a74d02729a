"""The virtual bench itself, quickly: real gateway, modems on pseudo-terminals, and both reports."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
WANTED = "every_channel or on_its_microsecond"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("serial") is None, reason="needs pyserial: pip install pyserial"
)


def pytest_on(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "LORAWAN_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "hil_tests", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *words],
        capture_output=True, text=True, cwd=CHECKOUT, timeout=120, check=False, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_the_virtual_bench_hears_and_answers_and_reports(tmp_path):
    done = pytest_on(tmp_path, "--measure", "quick", "-k", WANTED, "--report", str(tmp_path / "report"))
    assert done.returncode == 0, done.stdout[-3000:]
    suite = ET.parse(tmp_path / "report" / "hil.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "0", "0")
    properties = {one.get("name"): one.get("value") for one in suite.iter("property")}
    assert (properties["Heard"], properties["Worst start error"]) == ("8 of 8", "0 us")
    page = (tmp_path / "report" / "hil.html").read_text(encoding="utf-8")
    assert "Bench passed" in page
    assert "Start of a downlink" in page


def test_a_mistake_in_the_bench_file_ends_before_anything_starts(tmp_path):
    (tmp_path / "bench.toml").write_text('[concentrator]\ntype = "virtual"\n[[node]]\nname = "a"\ntyp = "rak3172"\n')
    done = pytest_on(tmp_path, "--bench", str(tmp_path / "bench.toml"))
    assert done.returncode == 4
    assert f"{tmp_path}/bench.toml:5 node[0].typ is unknown; did you mean type?" in done.stderr
