"""Fixtures that more than one room uses."""

from __future__ import annotations

import gc
import logging
from typing import TYPE_CHECKING

import pytest
from brokers import Authority, Mosquitto

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def make_mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Start real Mosquitto brokers with options of `brokers.Mosquitto`; they end with the test."""
    started: list[Mosquitto] = []

    def make(**options: object) -> Mosquitto:
        broker = Mosquitto(tmp_path / f"mosquitto-{len(started)}", **options)
        started.append(broker)
        broker.start()
        return broker

    yield make
    for broker in started:
        broker.kill()


@pytest.fixture
def mosquitto(make_mosquitto: Callable[..., Mosquitto]) -> Mosquitto:
    """A real Mosquitto broker on loopback, open to anybody, that forgets everything."""
    return make_mosquitto()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """A throw-away certificate authority."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def quiet_loop(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test whose event loop met an error that nobody took: a callback that raised, a future left behind."""
    yield
    gc.collect()
    asked = [*caplog.get_records("setup"), *caplog.get_records("call"), *caplog.records]
    stray = [record.getMessage() for record in asked if record.name == "asyncio" and record.levelno >= logging.ERROR]
    assert not stray
