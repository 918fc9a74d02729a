-- What people entered. `revision` grows with every change a person makes, so that a running daemon reads only what is new.
CREATE TABLE revision (number INTEGER NOT NULL);
INSERT INTO revision VALUES (0);

CREATE TABLE device (
    dev_eui BLOB PRIMARY KEY CHECK (length(dev_eui) = 8),
    name TEXT NOT NULL,
    codec TEXT,
    region_profile TEXT,
    mac_version TEXT NOT NULL,
    device_class TEXT NOT NULL,
    skip_f_cnt_check INTEGER NOT NULL,
    join_eui BLOB,
    variables TEXT NOT NULL,
    tags TEXT NOT NULL,
    app_key BLOB,
    nwk_key BLOB,
    added_us INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    last_seen_us INTEGER,
    battery REAL
) WITHOUT ROWID;

CREATE INDEX device_revision ON device (revision);

CREATE TABLE session (
    session_id INTEGER PRIMARY KEY AUTOINCREMENT,
    dev_eui BLOB NOT NULL REFERENCES device (dev_eui) ON DELETE CASCADE,
    dev_addr INTEGER NOT NULL,
    f_nwk_s_int_key BLOB NOT NULL,
    s_nwk_s_int_key BLOB NOT NULL,
    nwk_s_enc_key BLOB NOT NULL,
    app_s_key BLOB NOT NULL,
    f_cnt_up INTEGER,
    last_mic BLOB NOT NULL DEFAULT x''
);

CREATE INDEX session_dev_eui ON session (dev_eui);

-- Removed devices, so that a running daemon forgets them.
CREATE TABLE removed (
    revision INTEGER PRIMARY KEY,
    dev_eui BLOB NOT NULL
);

-- Up to which record of which log the counters and sightings above are current.
CREATE TABLE checkpoint (
    epoch TEXT NOT NULL,
    position INTEGER NOT NULL
);
