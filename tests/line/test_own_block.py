"""A device of this gateway in America: it is told to keep to the block of eight channels that is heard."""

from __future__ import annotations

import pytest
from daemons import GatewayProcess
from test_own_network import APP_KEY, DEV_EUI, JOIN_ACCEPT_DELAY1_US, JOIN_EUI, DownForwarder, Valve, phy_of


@pytest.mark.parametrize(
    ("mac_version", "cf_list"),
    [
        # RP002-1.0.4, 2.5.4: five masks of sixteen channels, lowest first, RFU, and type 1: channels 8 to 15 and 65.
        ("1.0.3", b"\x00\xff" + bytes(6) + b"\x02\x00" + bytes(5) + b"\x01"),
        ("1.0.2", b""),  # LoRaWAN 1.0.2 has no such list: its device is asked by LinkADRReq
    ],
)
def test_a_device_that_joins_is_told_the_block_that_is_heard(tmp_path, mac_version, cf_list):
    with GatewayProcess(tmp_path, gateway='region = "US915"') as gateway:
        settings = gateway.settings.read_text()
        gateway.settings.write_text(settings.replace("[radio]\n", "[radio]\nblock = 2\n"))
        added = gateway.command(
            "device", "add", "--dev-eui", DEV_EUI.hex(), "--name", "valve 7", "--join-eui", JOIN_EUI.hex(),
            "--app-key", APP_KEY.hex(), "--mac-version", mac_version,
        )  # fmt: skip
        assert added.returncode == 0, added.stderr
        gateway.start()
        with DownForwarder(gateway.udp_port) as forwarder:
            valve = Valve()
            forwarder.hear(valve.join_request(), counter_us=1_000_000, freq=903.9, datr="SF10BW125")
            accept = forwarder.downlink()
            assert accept["tmst"] == 1_000_000 + JOIN_ACCEPT_DELAY1_US
            # RP002-1.0.4, 2.5.7: channel 8 is answered on the first of the eight downlink channels, DR0 by DR10.
            assert (accept["freq"], accept["datr"]) == (923.3, "SF10BW500")
            assert valve.take_accept(phy_of(accept)) == cf_list
            forwarder.hear(valve.uplink(b"\x01", confirmed=True), counter_us=20_000_000, freq=904.1, datr="SF10BW125")
            _, _, f_opts, _, _ = valve.take(phy_of(forwarder.downlink()))
        channels = gateway.status()["radio"]["channels"]
    assert channels["channels_hz"] == [903_900_000 + 200_000 * at for at in range(4)] + [904_600_000] + [
        904_700_000 + 200_000 * at for at in range(4)
    ]
    # LinkADRReq is 03 (LoRaWAN 1.0.4, 5.2); a device that has the right channels already is not asked.
    assert f_opts.startswith(b"\x03") is (mac_version == "1.0.2")
