/* A stand-in for Semtech's libloragw 2.1: the same functions and structures, and a chip in memory instead of a bus.

   Our own words for what the interface promises and for what the real one was seen doing, its bad habits included: it
   reads as many bytes as the chip claims, gives up a fetch at the first bad packet, never gets past a packet with a
   spreading factor out of range, leaves counters as they were when a read fails, prints to stdout.

   standin_* are the test's hands: they script what the chip holds and how it breaks.

   -DFORK      has the two functions of brocaar/sx1302_hal
   -DOPAQUE    shows none of its insides (a build with hidden symbols)
   -DVERSION   another version string
   -DSHIFTED   a transmission with one field more: what a foreign layout looks like
   -DNO_LBT    without lgw_sx1261_setconf, as libraries before 2.1 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "Version: 2.1.0;"
#endif
#ifdef OPAQUE
#define INSIDE static
#else
#define INSIDE
#endif

/* --- structures ------------------------------------------------------------------------------------------------- */

struct board { bool lorawan_public; uint8_t clksrc; bool full_duplex; int com_type; char com_path[64]; };
struct tcomp { float a, b, c, d, e; };
struct rxrf {
    bool enable; uint32_t freq_hz; float rssi_offset; struct tcomp tcomp; int type; bool tx_enable, single_input_mode;
};
struct rxif {
    bool enable; uint8_t rf_chain; int32_t freq_hz; uint8_t bandwidth; uint32_t datarate; uint8_t sync_word_size;
    uint64_t sync_word; bool implicit_hdr; uint8_t implicit_payload_length; bool implicit_crc_en;
    uint8_t implicit_coderate;
};
struct demod { uint8_t multisf_datarate; };
struct gain { int8_t rf_power; uint8_t dig_gain, pa_gain, dac_gain, mix_gain; int8_t offset_i, offset_q; uint8_t pwr_idx; };
struct gain_lut { struct gain lut[16]; uint8_t size; };
struct ftime { bool enable; int mode; };
struct lbt_channel { uint32_t freq_hz; uint8_t bandwidth; int scan_time_us; uint16_t transmit_time_ms; };
struct lbt { bool enable; int8_t rssi_target; uint8_t nb_channel; struct lbt_channel channels[16]; };
struct sx1261 { bool enable; char spi_path[64]; int8_t rssi_offset; struct lbt lbt; };
struct rx {
    uint32_t freq_hz; int32_t freq_offset; uint8_t if_chain, status; uint32_t count_us; uint8_t rf_chain, modem_id;
    uint8_t modulation, bandwidth; uint32_t datarate; uint8_t coderate; float rssic, rssis, snr, snr_min, snr_max;
    uint16_t crc, size; uint8_t payload[256]; bool ftime_received; uint32_t ftime;
};
struct tx {
    uint32_t freq_hz; uint8_t tx_mode; uint32_t count_us; uint8_t rf_chain; int8_t rf_power; uint8_t modulation;
    int8_t freq_offset;
#ifdef SHIFTED
    uint32_t something_new;
#endif
    uint8_t bandwidth; uint32_t datarate; uint8_t coderate; bool invert_pol; uint8_t f_dev; uint16_t preamble;
    bool no_crc, no_header; uint16_t size; uint8_t payload[256];
};
struct buffer { uint8_t bytes[4096]; uint16_t size; int index; uint8_t count; };
struct turns { uint32_t now_ref, now_turns, pps_ref, pps_turns; };

/* --- the chip, and what the test does to it ---------------------------------------------------------------------- */

enum { WELL, LOW, HIGH, UNPLUGGED, HANGS_IN_START, DIES_IN_START, HANGS_IN_RECEIVE, NO_TEMPERATURE, REFUSES_TX, BUSY_AIR,
       FILLS_GARBAGE, WRITES_BEYOND, CLAIMS_TOO_MANY, TX_STUCK, HUGE_COUNT };

static int fault = WELL;
static char start_error[200];
static uint8_t fifo[8192];
static size_t fifo_size;
static uint32_t ticks_us, pps_us;
static uint8_t registers[0x10000];
static struct board board;
static struct rxrf radios[2];
static struct rxif channels[10];
static struct gain_lut lut[2];
static struct ftime ftime_conf;
static struct sx1261 second;
static struct tx sent;
static int sends, aborts, starts, stops, closes, flushes;
static bool started, bulk;
static uint8_t tx_state = 2;
static uint8_t sensor = 0xFF;
#ifdef FORK
static char i2c_path[64];
#endif
static int scans;

INSIDE struct buffer rx_buffer;
INSIDE struct turns counter_us;

void standin_fault(int which) { fault = which; }
void standin_start_error(const char *text) { snprintf(start_error, sizeof start_error, "%s", text); }
void standin_fifo(const uint8_t *bytes, uint16_t size) { memcpy(fifo + fifo_size, bytes, size); fifo_size += size; }
void standin_count(uint32_t now_us, uint32_t at_pps_us) { ticks_us = now_us; pps_us = at_pps_us; }
void standin_register(uint16_t address, uint8_t value) { registers[address] = value; }
void standin_tx_state(uint8_t state) { tx_state = state; }
int standin_calls(int which) { int all[] = { starts, stops, sends, aborts, closes, flushes, scans }; return all[which]; }
const struct tx *standin_sent(void) { return &sent; }
const struct gain_lut *standin_lut(int chain) { return &lut[chain]; }
const struct rxrf *standin_radio(int chain) { return &radios[chain]; }
const struct rxif *standin_channel(int chain) { return &channels[chain]; }
const struct sx1261 *standin_second(void) { return &second; }
const struct board *standin_board(void) { return &board; }
uint8_t standin_sensor(void) { return sensor; }
size_t standin_waiting(void) { return fifo_size; }

static void hang(void) { for (;;) usleep(10000); }

/* --- bus --------------------------------------------------------------------------------------------------------- */

static uint8_t value_at(uint16_t address, size_t beyond) {
    size_t waiting = fault == HUGE_COUNT ? 5000 : fifo_size;
    if (fault == LOW) return 0x00;
    if (fault == HIGH) return 0xFF;
    if (address == 0x58C8) return (uint8_t)(waiting >> 8);
    if (address == 0x58C9) return (uint8_t)waiting;
    if (address >= 0x4000 && address < 0x5000) return beyond < fifo_size ? fifo[beyond] : 0;
    return registers[address];
}

int lgw_com_rb(uint8_t target, uint16_t address, uint8_t *data, uint16_t size) {
    (void)target;
    if (fault == UNPLUGGED || bulk) return -1;
    for (size_t i = 0; i < size; i++)
        data[i] = value_at(address == 0x4000 ? 0x4000 : (uint16_t)(address + i), i);
    if (address == 0x4000) {
        size_t taken = size < fifo_size ? size : fifo_size;
        memmove(fifo, fifo + taken, fifo_size - taken);
        fifo_size -= taken;
    }
    return 0;
}

int lgw_com_r(uint8_t target, uint16_t address, uint8_t *value) { return lgw_com_rb(target, address, value, 1); }
int lgw_com_close(void) { closes++; return 0; }
int lgw_com_flush(void) { flushes++; bulk = false; return 0; }

INSIDE __attribute__((unused)) int lgw_mem_rb(uint16_t address, uint8_t *data, uint16_t size, bool fifo_mode) {
    (void)fifo_mode;
    return lgw_com_rb(0, address, data, size);
}

INSIDE int timestamp_counter_get(struct turns *self, uint32_t *now, uint32_t *at_pps) {
    if (fault == UNPLUGGED) { printf("ERROR: Failed to get timestamp counter value\n"); return -1; }
    uint32_t low = fault == LOW ? 0 : fault == HIGH ? 0x07FFFFFF : ticks_us & 0x07FFFFFF;
    uint32_t low_pps = pps_us & 0x07FFFFFF;
    if (low < self->now_ref) self->now_turns = (self->now_turns + 1) % 32;
    if (low_pps < self->pps_ref) self->pps_turns = (self->pps_turns + 1) % 32;
    self->now_ref = low;
    self->pps_ref = low_pps;
    *now = self->now_turns << 27 | low;
    *at_pps = self->pps_turns << 27 | low_pps;
    return 0;
}

/* --- configuration ----------------------------------------------------------------------------------------------- */

const char *lgw_version_info(void) { return VERSION; }

int lgw_board_setconf(struct board *conf) {
    if (started || (conf->com_type != 0 && conf->com_type != 1)) return -1;
    board = *conf;
    return 0;
}

int lgw_rxrf_setconf(uint8_t chain, struct rxrf *conf) {
    if (started) return -1;
    if (!conf->enable) return 0; /* and keeps what it was */
    if (chain > 1 || (conf->type != 1 && conf->type != 2 && conf->type != 5)) return -1;
    if (conf->freq_hz < 100000000 || conf->freq_hz > 1000000000) return -1;
    radios[chain] = *conf;
    return 0;
}

int lgw_rxif_setconf(uint8_t chain, struct rxif *conf) {
    int half = conf->bandwidth == 6 ? 250000 : conf->bandwidth == 5 ? 125000 : 62500;
    if (started || chain > 9) return -1;
    if (!conf->enable) { memset(&channels[chain], 0, sizeof channels[chain]); return 0; }
    if (conf->rf_chain > 1 || conf->freq_hz + half > 800000 || conf->freq_hz - half < -800000) return -1;
    if (conf->bandwidth == 0) conf->bandwidth = chain < 8 ? 4 : 5;
    if (conf->datarate == 0) conf->datarate = chain < 9 ? 7 : 64000;
    channels[chain] = *conf;
    return 0;
}

int lgw_demod_setconf(struct demod *conf) { (void)conf; return 0; }

int lgw_txgain_setconf(uint8_t chain, struct gain_lut *conf) {
    if (conf->size < 1 || conf->size > 16) return -1;
    for (int i = 0; i < conf->size; i++) {
        struct gain *one = &conf->lut[i];
        if (one->dig_gain > 3 || one->dac_gain > 3 || one->pa_gain > 3 || one->pwr_idx > 22) return -1;
        if (one->mix_gain < 5 || one->mix_gain > 15) return -1;
    }
    lut[chain] = *conf;
    return 0;
}

int lgw_ftime_setconf(struct ftime *conf) { ftime_conf = *conf; return 0; }

#ifndef NO_LBT
int lgw_sx1261_setconf(struct sx1261 *conf) {
    for (int i = 0; i < conf->lbt.nb_channel; i++) {
        struct lbt_channel *one = &conf->lbt.channels[i];
        if (one->bandwidth != 4 && one->bandwidth != 5) { printf("ERROR: bandwidth not supported\n"); return -1; }
        if (one->scan_time_us != 128 && one->scan_time_us != 5000) { printf("ERROR: scan time\n"); return -1; }
    }
    second = *conf;
    return 0;
}
#endif

#ifdef FORK
int lgw_i2c_set_path(const char *path) { snprintf(i2c_path, sizeof i2c_path, "%s", path); return 0; }
int lgw_i2c_set_temp_sensor_addr(uint8_t address) { sensor = address; return 0; }
#endif

/* --- running ----------------------------------------------------------------------------------------------------- */

int lgw_start(void) {
    starts++;
    printf("Note: chip version is 0x%02X\n", value_at(0x5606, 0));
    if (fault == HANGS_IN_START) hang();
    if (fault == DIES_IN_START) raise(SIGSEGV);
    if (start_error[0]) { printf("%s\n", start_error); return -1; }
    if (fault == LOW) { printf("ERROR: Failed to set SX1250_0 in STANDBY_RC mode\n"); return -1; }
    if (fault == HIGH) { printf("ERROR: sx1250 Image Calibration Error\n"); return -1; }
    if (fault == UNPLUGGED) { printf("ERROR: failed to open COM port %s\n", board.com_path); return -1; }
    memset(&counter_us, 0, sizeof counter_us);
    started = true;
    return 0;
}

int lgw_stop(void) { stops++; started = false; return fault == UNPLUGGED ? -1 : 0; }

static uint16_t lora_crc(const uint8_t *bytes, int size) {
    uint16_t crc = 0;
    for (int i = 0; i < size - 2; i++) {
        crc ^= (uint16_t)(bytes[i] << 8);
        for (int bit = 0; bit < 8; bit++) crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return (uint16_t)(crc ^ (size > 1 ? bytes[size - 2] << 8 : 0) ^ (size ? bytes[size - 1] : 0));
}

static void fetch(void) {
    uint8_t count[2];
    memset(&rx_buffer, 0, sizeof rx_buffer);
    lgw_com_rb(0, 0x58C8, count, 2);
    rx_buffer.size = (uint16_t)(count[0] << 8 | count[1]);
    if (rx_buffer.size > sizeof rx_buffer.bytes) raise(SIGSEGV); /* as reading so much into it does, sooner or later */
    if (rx_buffer.size == 0) return;
    lgw_com_rb(0, 0x4000, rx_buffer.bytes, rx_buffer.size);
    for (int at = 0; at < rx_buffer.size;) {
        if (rx_buffer.bytes[at] != 0xA5 || rx_buffer.bytes[at + 1] != 0xC0) {
            printf("WARNING: syncword not found at idx %d, discard the rx_buffer\n", at);
            rx_buffer.size = rx_buffer.count = 0;
            return;
        }
        int payload = rx_buffer.bytes[at + 2];
        rx_buffer.count++;
        at += 23 + payload + 2 * rx_buffer.bytes[at + payload + 21];
    }
}

/* 0 parsed, 1 the whole fetch is given up, -1 an error: whether the packet is past depends on which */
static int parse(struct rx *out) {
    const uint8_t *p = rx_buffer.bytes + rx_buffer.index;
    int n = p[2], metrics = p[n + 21], whole = 23 + n + 2 * metrics;
    uint8_t sum = 0;
    if (rx_buffer.index + whole > rx_buffer.size) { printf("WARNING: aborting truncated message\n"); goto give_up; }
    for (int i = 0; i < whole - 1; i++) sum = (uint8_t)(sum + p[i]);
    if (sum != p[whole - 1]) { printf("WARNING: checksum failed\n"); goto give_up; }
    int sf = p[4] >> 4, modem = p[5];
    if (modem > 17 || (modem < 17 && (p[3] > 9 || sf < 5 || sf > 12))) {
        printf("ERROR: SF is out of range - %u\n", sf);
        return -1;
    }
    rx_buffer.index += whole;
    rx_buffer.count--;
    memset(out, 0, sizeof *out);
    memcpy(out->payload, p + 9, (size_t)n);
    out->size = (uint16_t)n;
    out->if_chain = p[3];
    out->modem_id = (uint8_t)modem;
    out->rf_chain = channels[p[3]].rf_chain;
    out->freq_hz = (uint32_t)((int32_t)radios[out->rf_chain].freq_hz + channels[p[3]].freq_hz);
    out->modulation = modem == 17 ? 0x20 : 0x10;
    out->bandwidth = p[3] < 8 ? 4 : channels[p[3]].bandwidth;
    out->datarate = modem == 17 ? channels[9].datarate : (uint32_t)sf;
    out->coderate = p[4] >> 1 & 7;
    out->status = !(p[4] & 1) ? 0x01 : p[n + 9] & 1 ? 0x11 : 0x10;
    out->rssic = p[n + 11] + radios[out->rf_chain].rssi_offset;
    out->rssis = p[n + 12] + radios[out->rf_chain].rssi_offset;
    out->snr = modem == 17 ? -128.0f : (int8_t)p[n + 10] / 4.0f;
    out->count_us = (uint32_t)(p[n + 15] | p[n + 16] << 8 | p[n + 17] << 16 | (uint32_t)p[n + 18] << 24) / 32;
    out->ftime_received = ftime_conf.enable && metrics > 0;
    out->ftime = out->ftime_received ? 123456789 : 0;
    if (out->status == 0x10 && modem < 17 && n && lora_crc(p + 9, n) != (p[n + 19] | p[n + 20] << 8)) {
        printf("ERROR: Payload CRC16 check failed\n");
        return -1;
    }
    return 0;
give_up:
    rx_buffer.size = rx_buffer.count = 0;
    rx_buffer.index = 0;
    return 1;
}

int lgw_receive(uint8_t most, struct rx *out) {
    uint32_t now, pps;
    if (fault == HANGS_IN_RECEIVE) hang();
    if (rx_buffer.count == 0) fetch();
    else printf("Note: remaining %u packets in RX buffer, do not fetch sx1302 yet...\n", rx_buffer.count);
    timestamp_counter_get(&counter_us, &now, &pps);
    if (rx_buffer.count == 0) return 0;
    if (fault == NO_TEMPERATURE) { printf("ERROR: failed to get current temperature\n"); return -1; }
    if (fault == FILLS_GARBAGE) { memset(out, 0xEE, sizeof *out); rx_buffer.count = 0; return 1; }
    if (fault == WRITES_BEYOND) memset(out + most, 0, sizeof *out);
    if (fault == CLAIMS_TOO_MANY) { rx_buffer.count = 0; return 300; }
    int found = 0, expected = rx_buffer.count < most ? rx_buffer.count : most;
    for (; found < expected; found++) {
        int answer = parse(out + found);
        if (answer > 0) { printf("WARNING: parsing error on packet %d, discarding fetched packets\n", found); return 0; }
        if (answer < 0) { printf("ERROR: fatal parsing error on packet %d, aborting...\n", found); return -1; }
    }
    return found;
}

int lgw_send(struct tx *packet) {
    if (!started) { printf("ERROR: CONCENTRATOR IS NOT RUNNING\n"); return -1; }
    if (fault == UNPLUGGED || fault == REFUSES_TX) {
        bulk = board.com_type == 1;
        printf("ERROR: lgw_send: Failed to send packet\n");
        return -1;
    }
    if (packet->size == 0) return -1; /* a burst of no length, of a carrier too */
    if (fault == BUSY_AIR) { printf("LBT: (ERROR) packet is NOT allowed to be transmitted\n"); return 1; }
    if (packet->preamble == 0) packet->preamble = packet->modulation == 0x10 ? 8 : 5;
    sent = *packet;
    sends++;
    tx_state = packet->tx_mode == 0 ? 4 : 3;
    return 0;
}

int lgw_status(uint8_t chain, uint8_t select, uint8_t *code) {
    if (chain > 1 || (select != 1 && select != 2)) return -1;
    *code = !started ? 1 : select == 1 ? tx_state : 0;
    return 0;
}

int lgw_abort_tx(uint8_t chain) { aborts++; if (chain > 1 || fault == TX_STUCK) return -1; tx_state = 2; return 0; }

int lgw_get_instcnt(uint32_t *value) { uint32_t pps; timestamp_counter_get(&counter_us, value, &pps); return 0; }
int lgw_get_trigcnt(uint32_t *value) { uint32_t now; timestamp_counter_get(&counter_us, &now, value); return 0; }

int lgw_get_eui(uint64_t *eui) {
    if (fault == UNPLUGGED) return -1;
    *eui = fault == LOW ? 0 : 0x0016C001FF10A235ULL;
    return 0;
}

int lgw_get_temperature(float *celsius) {
    if (fault == NO_TEMPERATURE || fault == UNPLUGGED) return -1;
    *celsius = 40.0f;
    return 0;
}

/* The time on air that SX1276 datasheet, 4.1.1.7, gives for 125 kHz and SF7 to SF10, in ms. */
uint32_t lgw_time_on_air(const struct tx *packet) {
    int sf = (int)packet->datarate, bits = 8 * packet->size - 4 * sf + 28 + (packet->no_crc ? 0 : 16);
    if (packet->modulation != 0x10 || packet->bandwidth != 4 || sf < 7 || sf > 10) return 0;
    bits -= packet->no_header ? 20 : 0;
    int blocks = bits > 0 ? (bits + 4 * sf - 1) / (4 * sf) : 0;
    double symbols = packet->preamble + 4.25 + 8 + blocks * (packet->coderate + 4);
    return (uint32_t)(symbols * (1 << sf) / 125.0 + 0.5);
}

int lgw_spectral_scan_start(uint32_t freq_hz, uint16_t nb_scan) {
    (void)freq_hz;
    if (!second.enable) { printf("ERROR: sx1261 is not enabled, no spectral scan\n"); return -1; }
    scans = nb_scan;
    return 0;
}

int lgw_spectral_scan_get_status(int *status) { *status = fault == TX_STUCK ? 1 : 3; return 0; }

int lgw_spectral_scan_get_results(int16_t levels[33], uint16_t counts[33]) {
    for (int i = 0; i < 33; i++) { levels[i] = (int16_t)(-4 * i + second.rssi_offset); counts[i] = 0; }
    counts[29] = (uint16_t)scans;
    return 0;
}

int lgw_spectral_scan_abort(void) { return 0; }
