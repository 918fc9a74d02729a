"""A start always succeeds, also on a disk that takes no writing: the radio is heard from memory, and it heals."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import pytest
from daemons import GatewayProcess, PacketForwarder, Subscriber
from test_line import APP_S_KEY, DEV_ADDR, DEV_EUI, NWK_S_KEY, PHY

if os.geteuid() != 0:
    pytest.skip("needs root to mount a small file system", allow_module_level=True)


@contextmanager
def mounted(folder):
    """A file system of its own for the data folder."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("mount is not allowed here")
    try:
        yield lambda options: subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_gateway_on_a_read_only_disk_hears_delivers_and_goes_back_to_the_disk(tmp_path, mosquitto):
    sink = f'[sink.city]\ntype = "mqtt"\nurl = "mqtt://127.0.0.1:{mosquitto.port}"\n'
    with mounted(tmp_path / "data") as remount, GatewayProcess(tmp_path, sink=sink) as gateway:
        gateway.command(
            "device", "add", "--dev-eui", DEV_EUI, "--name", "PAV", "--codec", "heyliot/heywaste",
            "--dev-addr", DEV_ADDR, "--nwk-s-key", NWK_S_KEY, "--app-s-key", APP_S_KEY,
        )  # fmt: skip
        remount("ro")
        gateway.start()
        with Subscriber(mosquitto.port, "lorawan/+/+/up") as platform, PacketForwarder(gateway.udp_port) as forwarder:
            status = gateway.until(lambda status: status["sinks"][0]["state"] == "connected")
            assert status["store"]["state"] == "failing"
            assert "memory" in status["store"]["evidence"]
            forwarder.push(PHY)
            platform.wait_for(1)
            remount("rw")
            status = gateway.until(lambda status: status["store"]["state"] == "writing")
            assert status["store"]["balance"] == 0
        assert gateway.stop() == 0
