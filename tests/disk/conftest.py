"""Fixtures of the bad disk."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from nursery import Nursery
from trouble import Trouble, built_library

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/dev/shm")


@pytest.fixture
def quick_folder() -> Iterator[Path]:
    """A folder in memory where there is such a thing: these tests sync thousands of times and mean none of it."""
    folder = Path(tempfile.mkdtemp(prefix="gateway-disk-", dir=MEMORY if MEMORY.is_dir() else None))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """trouble.c, built."""
    return built_library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def trouble(library: Path, tmp_path: Path) -> Trouble:
    """A bad disk for a program that the test starts itself."""
    return Trouble(library, tmp_path)


@pytest.fixture
def nursery(trouble: Trouble) -> Iterator[Nursery]:
    """Children that live under `trouble`."""
    with Nursery(trouble) as nursery:
        yield nursery
