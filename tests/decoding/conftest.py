from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.decoding.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GOOD = """
def decode(payload, port, variables):
    return {
        "data": {"sum": sum(payload), "port": port, **variables},
        "measurements": [{"quantity": "pulse_total", "value": sum(payload)}],
    }
"""

Codecs = "Callable[..., Catalogue]"


@pytest.fixture
def codecs(tmp_path: Path) -> Callable[..., Catalogue]:
    """Writes codecs (name → Python source) into a folder and reads it; `toml` is added to each description."""

    def write(sources: dict[str, str], toml: str = "") -> Catalogue:
        for name, source in sources.items():
            folder = tmp_path / "codecs" / "test" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "device.toml").write_text(f'model = "{name}"\nkind = "test"\n{toml}')
            (folder / f"{name}.py").write_text(source)
        catalogue = Catalogue.load([tmp_path / "codecs"])
        assert not catalogue.problems
        return catalogue

    return write


def children() -> set[int]:
    """The processes this one has started and not yet buried."""
    tasks = Path("/proc/self/task")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before
