-- A transmission that may still count against an hour of its sub-band. Its start is a stamp.
CREATE TABLE airtime (
    number INTEGER PRIMARY KEY,
    transmitter TEXT NOT NULL,
    band TEXT NOT NULL,
    airtime_us INTEGER NOT NULL,
    utc_us INTEGER NOT NULL,
    quality TEXT NOT NULL,
    uncertainty_ms INTEGER,
    boot_id TEXT NOT NULL,
    monotonic_us INTEGER NOT NULL
);
-- Whether a gateway writes here, or has stopped without saying so.
CREATE TABLE run (going INTEGER NOT NULL);
INSERT INTO run VALUES (0);
