"""Which file is the library, and which only looks like it."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from libloragw_standin import compiled

from gateway.radio import libloragw_abi as abi
from gateway.radio.chip import HOPELESS, ChipTrouble
from gateway.radio.libloragw_library import load

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("standin")


def refused(path):
    with pytest.raises(ChipTrouble) as trouble:
        load(path)
    assert trouble.value.kind in HOPELESS
    assert trouble.value.hint
    assert str(path) in str(trouble.value)
    return str(trouble.value)


@pytest.mark.parametrize(
    ("flags", "is_fork", "shows_inside"),
    [((), False, True), (("-DFORK",), True, True), (("-DOPAQUE",), False, False)],
)
def test_semtech_s_library_and_the_fork_are_told_apart(folder, flags, is_fork, shows_inside):
    library = load(compiled(folder, *flags))
    assert (library.version, library.is_fork, library.shows_inside) == ("2.1.0", is_fork, shows_inside)
    assert "2.1.0" in library.name


def test_an_absent_library_is_told_with_its_path(tmp_path):
    assert "is not there" in refused(tmp_path / "libloragw.so")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no library"),
        (b"#!/bin/sh\nexit 0\n# padding padding", "is no library"),
        (b"!<arch>\n/               1619", "is a static library"),
        (bytes.fromhex("7f454c4602010100000000000000000003000000"), "is built for"),
        (bytes.fromhex("7f454c4601010100000000000000000003002800"), "32-bit ARM"),
        (bytes.fromhex("7f454c460201010000000000000000000300ffff"), "machine 65535"),
    ],
)
def test_a_file_that_is_something_else_is_called_what_it_is(tmp_path, content, said):
    path = tmp_path / "libloragw.so"
    path.write_bytes(content)
    assert said in refused(path)


def test_a_damaged_library_is_no_traceback(tmp_path):
    path = tmp_path / "libloragw.so"
    path.write_bytes(Path("/proc/self/exe").read_bytes()[:20] + b"garbage" * 50)
    assert "cannot be loaded" in refused(path)


AS_SOMEBODY_ELSE = """
import os, sys
from pathlib import Path
from gateway.radio.chip import ChipTrouble
from gateway.radio.libloragw_library import load
if os.geteuid() == 0:
    os.setuid(65534)
try:
    load(Path(sys.argv[1]))
except ChipTrouble as trouble:
    print(trouble.kind.name, trouble.hint)
"""


def test_a_library_nobody_may_read_is_a_matter_of_permission(tmp_path):
    path = tmp_path / "libloragw.so"
    path.touch(mode=0)
    told = subprocess.run(
        [sys.executable, "-c", AS_SOMEBODY_ELSE, str(path)],
        capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    ).stdout  # fmt: skip
    assert told.startswith("NO_PERMISSION")
    assert "chmod" in told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (('-DVERSION="Version: 2.0.1;"',), "is version 2.0.1; 2.1 is wanted"),
        (('-DVERSION="Version: 5.0.1; Options: native;"',), "is version 5.0.1"),
        (('-DVERSION="about two"',), "calls its version"),
        (("-DNO_LBT",), "has no lgw_sx1261_setconf"),
        (("-DSHIFTED",), "lays its structures out differently"),
    ],
)
def test_a_library_that_would_misread_us_is_not_used(folder, flags, said):
    assert said in refused(compiled(folder, *flags))


def test_another_library_is_called_so(folder):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    built = folder / "libother.so"
    source = folder / "other.c"
    source.write_text("int something_else(void) { return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    assert "is another library" in refused(built)


@pytest.mark.parametrize("structure", abi.SIZES, ids=lambda structure: structure.__name__)
def test_each_structure_takes_as_much_as_in_the_library(structure):
    assert ctypes.sizeof(structure) == abi.SIZES[structure]


# What each of our structures is called by the library's headers.
HEADERS = {
    abi.ConfBoard: "struct lgw_conf_board_s", abi.RssiTcomp: "struct lgw_rssi_tcomp_s",
    abi.ConfRxrf: "struct lgw_conf_rxrf_s", abi.ConfRxif: "struct lgw_conf_rxif_s",
    abi.ConfDemod: "struct lgw_conf_demod_s", abi.TxGainEntry: "struct lgw_tx_gain_s",
    abi.TxGainLut: "struct lgw_tx_gain_lut_s", abi.ConfFtime: "struct lgw_conf_ftime_s",
    abi.ConfChanLbt: "struct lgw_conf_chan_lbt_s", abi.ConfLbt: "struct lgw_conf_lbt_s",
    abi.ConfSx1261: "struct lgw_conf_sx1261_s", abi.PktRx: "struct lgw_pkt_rx_s", abi.PktTx: "struct lgw_pkt_tx_s",
    abi.RxBuffer: "rx_buffer_t",
}  # fmt: skip

NUMBERS = {
    "MOD_CW": abi.MOD_CW, "MOD_LORA": abi.MOD_LORA, "MOD_FSK": abi.MOD_FSK, "BW_500KHZ": abi.BANDWIDTHS[500_000],
    "BW_250KHZ": abi.BANDWIDTHS[250_000], "BW_125KHZ": abi.BANDWIDTHS[125_000], "CR_LORA_4_5": abi.CODE_RATES["4/5"],
    "CR_LORA_4_8": abi.CODE_RATES["4/8"], "STAT_NO_CRC": abi.STAT_NO_CRC, "STAT_CRC_OK": abi.STAT_CRC_OK,
    "STAT_CRC_BAD": abi.STAT_CRC_BAD, "IMMEDIATE": abi.IMMEDIATE, "TIMESTAMPED": abi.TIMESTAMPED, "ON_GPS": abi.ON_GPS,
    "TX_STATUS": abi.TX_STATUS, "LGW_LBT_NOT_ALLOWED": abi.LBT_NOT_ALLOWED, "LGW_RADIO_TYPE_SX1250": abi.RADIO_SX1250,
    "LGW_COM_SPI": abi.COM_SPI, "LGW_COM_USB": abi.COM_USB, "LGW_FTIME_MODE_ALL_SF": abi.FTIME_ALL_SF,
    "LGW_IF_CHAIN_NB": abi.IF_CHAINS, "LGW_RF_CHAIN_NB": abi.RF_CHAINS, "TX_GAIN_LUT_SIZE_MAX": abi.LUT_SIZE,
    "LGW_LBT_CHANNEL_NB_MAX": abi.LBT_CHANNELS, "LGW_SPECTRAL_SCAN_RESULT_SIZE": abi.SCAN_LEVELS,
}  # fmt: skip


def test_every_field_lies_where_the_real_headers_have_it(tmp_path):
    """The compiler says, from the headers of a checkout: LIBLORAGW_INCLUDE=…/sx1302_hal/libloragw/inc."""
    include = os.environ.get("LIBLORAGW_INCLUDE")
    if not include:
        pytest.skip("needs the headers: LIBLORAGW_INCLUDE=…/sx1302_hal/libloragw/inc")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt install gcc libc6-dev")
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "loragw_hal.h"', '#include "loragw_sx1302_rx.h"']
    lines += ["int main(void) {"]
    expected = {}
    for structure, name in HEADERS.items():
        lines.append(f'  printf("{name} %zu\\n", sizeof({name}));')
        expected[name] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            lines.append(f'  printf("{name}.{field} %zu\\n", offsetof({name}, {field}));')
            expected[f"{name}.{field}"] = getattr(structure, field).offset
    for name, value in NUMBERS.items():
        lines.append(f'  printf("{name} %d\\n", (int)({name}));')
        expected[name] = value
    lines += ["  return 0;", "}"]
    source = tmp_path / "layout.c"
    source.write_text("\n".join(lines))
    program = tmp_path / "layout"
    (tmp_path / "config.h").write_text('#define LIBLORAGW_VERSION "2.1.0"\n')
    subprocess.run([compiler, f"-I{include}", f"-I{tmp_path}", "-o", program, source], check=True, capture_output=True)
    told = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    measured = {name: int(value) for name, _, value in (line.rpartition(" ") for line in told)}
    assert measured == expected
