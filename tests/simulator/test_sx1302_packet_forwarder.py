"""The whole way with Semtech's own packet forwarder: simulated devices and chip, its program, our daemon, and back.

Needs `lora_pkt_fwd` on the PATH, built by whoever runs this from Lora-net/sx1302_hal.
"""

import json
import shutil
import subprocess
import sys
import threading
import time

import pytest
from daemons import PROJECT, GatewayProcess

FORWARDER = shutil.which("lora_pkt_fwd")

if not FORWARDER:
    pytest.skip("needs lora_pkt_fwd, of Lora-net/sx1302_hal, on the PATH", allow_module_level=True)

TABLE_A = {12: (0, 15), 13: (0, 16), 14: (0, 17), 15: (0, 19), 16: (0, 20), 17: (0, 22), 18: (1, 1), 27: (1, 14)}


def settings_of_forwarder(device: str, udp_port: int) -> dict:
    """What the forwarder wants to know: EU868 on the eight usual channels."""
    radio = {"enable": True, "type": "SX1250", "rssi_offset": -215.4, "rssi_tcomp": dict(zip(
        ("coeff_a", "coeff_b", "coeff_c", "coeff_d", "coeff_e"), (0, 0, 20.41, 2162.56, 0), strict=True))}  # fmt: skip
    lut = [{"rf_power": dbm, "pa_gain": gain, "pwr_idx": index} for dbm, (gain, index) in TABLE_A.items()]
    offsets = [(1, -400_000), (1, -200_000), (1, 0), *((0, step * 200_000 - 400_000) for step in range(5))]
    return {
        "SX130x_conf": {
            "com_type": "USB", "com_path": device, "lorawan_public": True, "clksrc": 0, "antenna_gain": 0,
            "full_duplex": False,
            "radio_0": radio | {"freq": 867_500_000, "tx_enable": True, "tx_freq_min": 863_000_000,
                                "tx_freq_max": 870_000_000, "tx_gain_lut": lut},
            "radio_1": radio | {"freq": 868_500_000, "tx_enable": False},
            "chan_multiSF_All": {"spreading_factor_enable": list(range(5, 13))},
            **{f"chan_multiSF_{number}": {"enable": True, "radio": chain, "if": offset}
               for number, (chain, offset) in enumerate(offsets)},
        },
        "gateway_conf": {
            "gateway_ID": "0016C001F1500812", "server_address": "127.0.0.1", "serv_port_up": udp_port,
            "serv_port_down": udp_port, "keepalive_interval": 2, "stat_interval": 5, "push_timeout_ms": 100,
            "forward_crc_valid": True, "forward_crc_error": False, "forward_crc_disabled": False,
        },
    }  # fmt: skip


class SimulatedChip:
    """`simulate chip` as a process, and what it says."""

    def __init__(self, folder) -> None:
        command = [sys.executable, "-m", "gateway", "simulate", "chip", "--json", "--pty", str(folder / "tty")]
        command += ["--scenario", "village.toml", "--devices", str(folder / "devices.csv")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=PROJECT
        )
        self.events = [json.loads(self.process.stdout.readline())]
        self._listener = threading.Thread(target=self._listen)
        self._listener.start()

    def _listen(self) -> None:
        self.events += map(json.loads, self.process.stdout)

    def stop(self) -> None:
        self.process.terminate()
        self._listener.join()
        self.process.stdout.close()
        self.process.wait()

    def said(self, event: str) -> list[dict]:
        return [one for one in list(self.events) if one["event"] == event]


@pytest.mark.slow
def test_devices_join_and_are_decoded_through_the_real_forwarder(tmp_path):
    chip, gateway, forwarder = SimulatedChip(tmp_path), GatewayProcess(tmp_path), None
    try:
        imported = gateway.command("device", "import", str(tmp_path / "devices.csv"))
        assert imported.returncode == 0, imported.stderr
        gateway.start()
        conf = settings_of_forwarder(chip.events[0]["device"], gateway.udp_port)
        (tmp_path / "conf.json").write_text(json.dumps(conf))
        (tmp_path / "reset_lgw.sh").write_text("#!/bin/sh\n")  # it runs this before it looks at its settings
        (tmp_path / "reset_lgw.sh").chmod(0o755)
        with (tmp_path / "forwarder.log").open("w") as log:
            forwarder = subprocess.Popen([FORWARDER, "-c", "conf.json"], cwd=tmp_path, stdout=log, stderr=log)
        gateway.until(lambda status: status["radio"]["stored"] >= 6 and _joined(status) >= 6, within_s=90)
        time.sleep(1)  # for the last answer to be over
    finally:
        if forwarder is not None:
            forwarder.terminate()
            forwarder.wait()
        chip.stop()
        gateway.stop()
    answers = chip.said("sent")
    assert len(answers) >= 6
    # Each starts a whole second or five after some frame ended, to the microsecond: RX1, or RX2 where that was taken.
    ends = {heard["count_us"] for heard in chip.said("heard")}
    timed = [sent["start_count_us"] for sent in answers if sent["trigger"] == "counter"]
    assert len(timed) >= 6
    for start_us in timed:
        assert {start_us - delay_s * 1_000_000 for delay_s in (1, 2, 5, 6)} & ends, (start_us, sorted(ends))
    # Nobody asked twice: every accept was heard by the device it was for.
    asked = [heard["phy"][18:34] for heard in chip.said("heard") if heard["phy"].startswith("00")]
    assert len(asked) == len(set(asked)) == 6


def _joined(status: dict) -> int:
    return status["radio"]["refused"].get("joined", 0)
