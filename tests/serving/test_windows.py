"""Which receiver answers, where, and with what."""

import pytest

from gateway.model import Crc, Lora, RadioFrame, Stamp, TimeQuality
from gateway.regions.eu868 import EU868
from gateway.regions.region import ReceiveWindow
from gateway.serving.windows import Opening, ways_to

STAMP = Stamp(1_795_420_800_000_000, TimeQuality.NTP, 50, "boot", 0)


def heard(rf_chain: int) -> RadioFrame:
    return RadioFrame(
        phy=b"\x40", heard=STAMP, frequency_hz=868_100_000, modulation=Lora(7, 125_000), rssi_dbm=-60.0, snr_db=9.0,
        channel=0, rf_chain=rf_chain, counter_us=5_000_000, crc=Crc.OK, receiver="roof",
    )  # fmt: skip


# Every SX1302 board that ChirpStack's concentratord knows sends on radio 0 alone (its vendor configurations), and
# Semtech's packet forwarder refuses the others: "TX is not enabled on RF chain 1, TX aborted".
@pytest.mark.parametrize("rf_chain", [0, 1])
def test_an_answer_goes_out_on_the_chain_with_the_transmitter_whichever_heard_the_uplink(rf_chain):
    opening = Opening("RX1", 1_000_000, ReceiveWindow(868_100_000, 5))
    (way,) = ways_to(EU868, [heard(rf_chain)], [opening], b"\x60", "ref")
    assert way.rf_chain == 0
