from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from decoding_samples import children

from gateway.decoding.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def codecs(tmp_path: Path) -> Callable[..., Catalogue]:
    """Writes codecs (name → source) into a folder and reads it; `toml` is added to each description."""

    def write(sources: dict[str, str], toml: str = "", suffix: str = ".py") -> Catalogue:
        for name, source in sources.items():
            folder = tmp_path / "codecs" / "test" / name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "device.toml").write_text(f'model = "{name}"\nkind = "test"\n{toml}')
            (folder / f"{name}{suffix}").write_text(source, encoding="utf-8")
        catalogue = Catalogue.load([tmp_path / "codecs"])
        assert not catalogue.problems
        return catalogue

    return write


@pytest.fixture(autouse=True)
def no_process_left_behind() -> Iterator[None]:
    before = children()
    yield
    assert children() <= before
