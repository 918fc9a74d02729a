"""Addresses of the SX1302 that do something in this model, and what stands in them after a reset.

Everything else is memory that remembers what was written. Source: Semtech's sx1302_hal 2.1.0 (`loragw_reg.h`,
`loragw_sx1302.c`, `loragw_sx1302_timestamp.c`); there is no public datasheet with registers.
"""

from __future__ import annotations

SPACE = 0x8000

AGC_MEMORY = 0x0000
ARB_MEMORY = 0x2000
FIRMWARE_BYTES = 0x2000
RX_BUFFER = 0x4000  # a FIFO: reading it takes out, whatever the address
RX_BUFFER_END = 0x5000

TX_BASE = (0x5200, 0x5400)
TX_BUFFER = (0x5300, 0x5500)

# Offsets in a transmit block
TX_TRIGGER = 0x00  # bit 0 now, bit 1 at the counter, bit 2 at the next PPS
TX_TIMER = 0x01  # four bytes, MSB first, 32 MHz
TX_START_DELAY = 0x05  # two bytes, MSB first, 32 MHz
TX_MODULATION = 0x09  # bit 0: FSK
TX_POWER = 0x0D
TX_STATUS = 0x11
TX_SOURCE = 0x20  # bits 1:0, see TxSource of the transmitter
TX_FREQUENCY = 0x25  # three bytes, MSB first
TX_FSK_LENGTH = 0x40
TX_FSK_CONFIG = 0x41  # bit 1: CRC
TX_FSK_PREAMBLE = 0x42  # two bytes, MSB first
TX_FSK_BIT_RATE = 0x44  # two bytes, MSB first
TX_LORA_RATE = 0x60  # bandwidth, spreading factor
TX_LORA_CODING = 0x61  # bits 2:0
TX_LORA_OPTIONS = 0x62  # bit 1 implicit header, bit 0 CRC
TX_LORA_LENGTH = 0x63
TX_LORA_PREAMBLE = 0x66  # LSB, then MSB
TX_LORA_CHIRP = 0x69  # bit 1: inverted
TX_LORA_SYNC_PEAK = 0x6D

COMMON_PAGE = 0x5600
RADIO_MODE = 0x5601  # bits 1, 0: radio B, A is an SX1250
ENABLES = 0x5605  # bit 3 all, 2 FSK, 1 multi-SF, 0 service modem
VERSION = 0x5606
GPIO_OUTPUT = 0x5643

AGC_CONTROL = 0x5780  # bit 2 hold, bit 1 host programs, bit 0 parity error
AGC_STATUS = 0x5781
RADIO_POWER = (0x5783, 0x5784)  # bit 3 not in reset, bit 2 on
AGC_MAILBOX_IN = 0x5789  # bytes 3, 2, 1, 0
AGC_MAILBOX_OUT = 0x578D  # bytes 3, 2, 1, 0
CLOCK_SELECT = 0x57C0  # bit 2 dividers, bit 1 radio B, bit 0 radio A

IF_FREQUENCY = 0x5800  # eight times two bytes, 13 bits, MSB first
RADIO_SELECT = 0x5810
CORRELATORS = 0x5821  # one bit for each multi-SF channel
CORRELATOR_SF = 0x5822  # bit 0 is SF5
SYNC_PEAK_SF7_TO_12 = 0x588E
RX_BUFFER_CONTROL = 0x58C0  # bit 3 direct access, bit 2 timestamp at the end of the packet
RX_BUFFER_BYTES = 0x58C8  # two bytes, MSB first

SERVICE_IF = 0x5B00
SERVICE_RADIO = 0x5B02
SERVICE_RATE = 0x5B21  # bandwidth, spreading factor
SERVICE_SYNC_PEAK = 0x5B2E
FSK_RADIO = 0x5B54

ARB_CONTROL = 0x6080
ARB_STATUS = 0x6081
ARB_DEBUG_IN = 0x6089  # four bytes
ARB_DEBUG_OUT = 0x608D  # sixteen bytes

GPS_CONTROL = 0x6100  # bit 0: enabled
COUNTER_PPS = 0x6101  # four bytes, MSB first, 32 MHz
COUNTER = 0x6105
OTP_ADDRESS = 0x6180
OTP_DATA = 0x6181
OTP_MODEL = 0xD0

LORA_BANDWIDTHS_HZ = {4: 125_000, 5: 250_000, 6: 500_000}
"""Codes of `TX_LORA_RATE` and `SERVICE_RATE`, upper four bits."""

PUBLIC_SYNC_PEAK = 6
SYNC_PEAK_BITS = 0x1F
"""What the first sync peak is set to for LoRaWAN's sync word 0x34; 2 stands for private networks (0x12)."""

AFTER_RESET = {
    RADIO_MODE: 0x0B,
    AGC_CONTROL: 0x14,
    ARB_CONTROL: 0x24,
    CORRELATOR_SF: 0xFF,
    SYNC_PEAK_SF7_TO_12: 0x02,
    SERVICE_SYNC_PEAK: 0x02,
    SERVICE_RATE: 0x47,
    **{base + TX_START_DELAY: 0xBB for base in TX_BASE},
    **{base + TX_START_DELAY + 1: 0x80 for base in TX_BASE},
    **{base + TX_SOURCE: 0x18 for base in TX_BASE},
    **{base + TX_FREQUENCY: 0x6C for base in TX_BASE},
    **{base + TX_FREQUENCY + 1: 0x90 for base in TX_BASE},
    **{base + TX_LORA_SYNC_PEAK: 0xA2 for base in TX_BASE},
    **{base + TX_LORA_PREAMBLE: 0x08 for base in TX_BASE},
}
"""The bytes that are not zero then, of those modelled."""

READ_ONLY = frozenset(
    {VERSION, AGC_STATUS, ARB_STATUS, OTP_DATA}
    | {AGC_MAILBOX_OUT + byte for byte in range(4)}
    | {ARB_DEBUG_OUT + byte for byte in range(16)}
    | {RX_BUFFER_BYTES, RX_BUFFER_BYTES + 1}
    | {COUNTER_PPS + byte for byte in range(8)}
    | {base + TX_STATUS for base in TX_BASE}
)


def whole(memory: bytearray, address: int, size: int) -> int:
    """A number of several bytes, MSB first."""
    return int.from_bytes(memory[address : address + size], "big")
