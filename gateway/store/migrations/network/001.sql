-- What this gateway, as a network, owes the devices it serves. One writer: the running daemon.

-- Sessions that were joined here. A device has the one it uses, and the newest that it has been offered since.
CREATE TABLE session (
    session_id INTEGER PRIMARY KEY AUTOINCREMENT,
    dev_eui BLOB NOT NULL CHECK (length(dev_eui) = 8),
    offered INTEGER NOT NULL,
    dev_addr INTEGER NOT NULL,
    mac_version TEXT NOT NULL,
    f_nwk_s_int_key BLOB NOT NULL,
    s_nwk_s_int_key BLOB NOT NULL,
    nwk_s_enc_key BLOB NOT NULL,
    app_s_key BLOB NOT NULL,
    f_cnt_up INTEGER,
    last_mic BLOB NOT NULL DEFAULT x''
);

CREATE INDEX session_dev_eui ON session (dev_eui, offered);

-- Numbers of joined sessions begin where those of entered sessions never come; a record's number has 32 bits.
INSERT INTO sqlite_sequence (name, seq) VALUES ('session', 2147483647);

-- Nonces used. They stay when a session goes, and when a device does: entered again it is still the same device.
CREATE TABLE join_history (
    dev_eui BLOB PRIMARY KEY CHECK (length(dev_eui) = 8),
    history TEXT NOT NULL
) WITHOUT ROWID;

-- Of every session that is served, joined or entered: the state of its MAC layer, and the downlink counters below
-- which any may have been on the air.
CREATE TABLE served (
    session_id INTEGER PRIMARY KEY,
    dev_eui BLOB NOT NULL,
    mac_state TEXT,
    n_f_cnt_down INTEGER NOT NULL DEFAULT 0,
    a_f_cnt_down INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX served_dev_eui ON served (dev_eui);

-- What somebody wants a device to be told, until a day after it ended.
CREATE TABLE downlink (
    ref TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    dev_eui BLOB NOT NULL,
    entry TEXT NOT NULL
) WITHOUT ROWID;

-- Up to which record of which log the uplink counters above are current.
CREATE TABLE checkpoint (
    epoch TEXT NOT NULL,
    position INTEGER NOT NULL
);
