"""Configurations of other gateway programs, written here after what their makers document.

Keys: Semtech sx1302_hal 2.1.0 (packet_forwarder/src/lora_pkt_fwd.c and its sample files for the SX1250), mp_pkt_fwd
3.0.20, Basics Station 2.0.6 (src-linux/sys_linux.c, src/sx130xconf.c), ChirpStack MQTT Forwarder 4.6.0
(src/config.rs), ChirpStack Gateway Bridge 4.1 (cmd/configfile.go), ChirpStack Concentratord 4.7.1 (config/mod.rs).
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from gateway.settings import Examination, examine_draft
from gateway.settings.importing import ForeignFile, Imported, Wishes, import_files, write_settings

EXAMPLE = (resources.files("gateway.settings") / "example.toml").read_text(encoding="utf-8")

FOLDER = "/home/gateway"

# Radios in MHz, channels as distances from them: the channel plan of sx1302_hal's sample for EU868.
EU868_RADIOS = (867_500_000, 868_500_000)
EU868_CHANNELS = (
    (1, -400_000),
    (1, -200_000),
    (1, 0),
    (0, -400_000),
    (0, -200_000),
    (0, 0),
    (0, 200_000),
    (0, 400_000),
)
RAK_EUROPE = ((12, 1, 4), (13, 1, 5), (14, 1, 6))  # the weakest entries, Concentratord 4.7.1 vendor/rak/rak2287.rs

SEMTECH = """\
/* a gateway on a roof */
{
    "SX130x_conf": {
        "com_type": "SPI",
        "com_path": "/dev/spidev0.0", // the first bus
        "lorawan_public": true,
        "clksrc": 0,
        "antenna_gain": 3, /* dBi */
        "full_duplex": false,
        "radio_0": {
            "enable": true, "type": "SX1250", "freq": 867500000, "rssi_offset": -215.4,
            "rssi_tcomp": {"coeff_a": 0, "coeff_b": 0, "coeff_c": 20.41, "coeff_d": 2162.56, "coeff_e": 0},
            "tx_enable": true, "tx_freq_min": 863000000, "tx_freq_max": 870000000,
            "tx_gain_lut": [
                {"rf_power": 12, "pa_gain": 1, "pwr_idx": 4},
                {"rf_power": 13, "pa_gain": 1, "pwr_idx": 5}
            ]
        },
        "radio_1": {"enable": true, "type": "SX1250", "freq": 868500000, "tx_enable": false},
        "chan_multiSF_All": {"spreading_factor_enable": [5, 6, 7, 8, 9, 10, 11, 12]},
        "chan_multiSF_0": {"enable": true, "radio": 1, "if": -400000}, /* 868.1 MHz */
        "chan_multiSF_1": {"enable": true, "radio": 1, "if": -200000},
        "chan_multiSF_2": {"enable": true, "radio": 1, "if": 0},
        "chan_multiSF_3": {"enable": true, "radio": 0, "if": -400000},
        "chan_multiSF_4": {"enable": true, "radio": 0, "if": -200000},
        "chan_multiSF_5": {"enable": true, "radio": 0, "if": 0},
        "chan_multiSF_6": {"enable": true, "radio": 0, "if": 200000},
        "chan_multiSF_7": {"enable": false, "radio": 0, "if": 400000},
        "chan_Lora_std": {"enable": true, "radio": 1, "if": -200000, "bandwidth": 250000, "spread_factor": 7},
        "chan_FSK": {"enable": false}
    },
    "gateway_conf": {
        "gateway_ID": "0016C001F1500812",
        "server_address": "lns.example.org",
        "serv_port_up": 1700,
        "serv_port_down": 1700,
        "keepalive_interval": 5,
        "stat_interval": 60,
        "push_timeout_ms": 100,
        "forward_crc_valid": true,
        "forward_crc_error": false,
        "forward_crc_disabled": false,
        "gps_tty_path": "/dev/ttyS0",
        "ref_latitude": 43.6119,
        "ref_longitude": 3.8772,
        "ref_altitude": 57,
        "fake_gps": true,
        "beacon_period": 0,
        "beacon_freq_hz": 869525000,
        "autoquit_threshold": 6
    },
    "debug_conf": {"ref_payload": [{"id": "0xCAFE1234"}], "log_file": "loragw_hal.log"}
}
"""

STATION = """\
{
    /* what Station says of its concentrator; channels come from the server */
    "SX1302_conf": {
        "device": "/dev/spidev0.0",
        "lorawan_public": true,
        "clksrc": 0,
        "radio_0": {"type": "SX1250", "rssi_offset": -215.4, "tx_enable": true, "antenna_gain": 2.5},
        "radio_1": {"type": "SX1250", "rssi_offset": -215.4, "tx_enable": false}
    },
    "station_conf": {
        "routerid": "16:c001:f150:812",
        "radio_init": "rinit.sh",
        "RX_POLL_INTV": "10ms",
        "TC_TIMEOUT": "360s",
        "log_file": "stderr",
        "log_level": "DEBUG",
        "log_size": 10000000,
        "log_rotate": 3
    }
}
"""

FORWARDER = """\
[logging]
  level="info"
  log_to_syslog=true

[mqtt]
  topic_prefix="us915_1"
  json=true
  server="ssl://broker.example.org:8883"
  username="roof"
  password="correct horse"
  qos=0
  clean_session=false
  client_id=""
  keep_alive_interval="30s"
  ca_cert="/etc/chirpstack/ca.pem"
  tls_cert="/etc/chirpstack/cert.pem"
  tls_key="/etc/chirpstack/key.pem"
  reconnect_interval="1s"

[backend]
  enabled="semtech_udp"

  [backend.filters]
    forward_crc_ok=true
    forward_crc_invalid=false
    forward_crc_missing=false
    lorawan_only=true
    dev_addr_prefixes=["0000ff07/24", "26000000/7"]
    join_eui_prefixes=["70b3d57ed0000000/40"]

  [backend.semtech_udp]
    bind="0.0.0.0:1700"
    time_fallback_enabled=false

[metadata]
  [metadata.static]
    serial_number="1234"

[commands]
  reboot=["/usr/bin/reboot"]

[callbacks]
  on_mqtt_connected=[]
  on_mqtt_connection_error=[]
"""

BRIDGE = """\
[general]
log_level=4

[filters]
net_ids=["000013", "c00053"]
join_euis=[["0000000000000000", "00000000000000ff"], ["70b3d57ed0000001", "70b3d57ed0000006"]]

[backend]
type="semtech_udp"

  [backend.semtech_udp]
  udp_bind=":1700"
  fake_rx_time=true
  connection_timeout_duration="1m0s"

[integration]
marshaler="json"

  [integration.mqtt]
  event_topic_template="eu868/gateway/{{ .GatewayID }}/event/{{ .EventType }}"
  state_topic_template="eu868/gateway/{{ .GatewayID }}/state/{{ .StateType }}"
  command_topic_template="eu868/gateway/{{ .GatewayID }}/command/#"
  state_retained=true
  keep_alive="30s"

  [integration.mqtt.auth]
  type="generic"

    [integration.mqtt.auth.generic]
    servers=["tcp://broker.example.org:1883"]
    username=""
    password=""
    qos=0
    ca_cert=""

[metrics]
  [metrics.prometheus]
  endpoint_enabled=false
"""

CONCENTRATORD = """\
[concentratord]
  log_level="INFO"
  stats_interval="30s"
  disable_crc_filter=false

  [concentratord.api]
    event_bind="ipc:///tmp/concentratord_event"

[gateway]
  antenna_gain=3
  lorawan_public=true
  region="EU868"
  model="rak_2287"
  model_flags=["GNSS", "USB"]
  gateway_id="0016c001f1500812"
  time_fallback_enabled=true
  com_dev_path="/dev/ttyACM1"

  [gateway.concentrator]
    multi_sf_channels=[868100000, 868300000, 868500000, 867100000, 867300000, 867500000, 867700000, 867900000]

    [gateway.concentrator.lora_std]
      frequency=868300000
      bandwidth=250000
      spreading_factor=7

  [gateway.location]
    latitude=43.6119
    longitude=3.8772
    altitude=57
"""


def file(base: str, content: str | bytes | object) -> ForeignFile:
    """A file in the gateway's home; what is neither text nor bytes is written as JSON."""
    if not isinstance(content, str | bytes):
        content = json.dumps(content)
    return ForeignFile(base, f"{FOLDER}/{base}", content.encode() if isinstance(content, str) else content)


def imported(*files: ForeignFile, **wishes: Any) -> Imported:
    """What becomes of files; secrets go to /out/secrets."""
    return import_files(files, Wishes(**{"secret_folder": "/out/secrets", **wishes}))


def verdict(found: Imported) -> Examination:
    """What our own loader says of the settings."""
    return examine_draft(write_settings(found.values, EXAMPLE, ["Taken over."]).encode(), Path("gateway.toml"))


def of(found: Imported, *path: str) -> Any:
    """A value of the settings."""
    return found.values.get(path)


def why(found: Imported, key: str) -> str:
    """Why a key was not taken over."""
    (text,) = [problem.text for problem in found.left_out if problem.key == key]
    return text
