-- One part of the record log. A part is written to the end, then only read, then deleted as a file.
CREATE TABLE part (
    epoch TEXT NOT NULL,
    gateway_eui TEXT NOT NULL,
    first_position INTEGER NOT NULL
);

CREATE TABLE record (
    position INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);

-- Frames nobody could open, within a bound: keys that come later open them.
CREATE TABLE unopened (
    number INTEGER PRIMARY KEY,
    dev_addr INTEGER,
    reason TEXT NOT NULL,
    body BLOB NOT NULL
);

-- The books as of the last commit of this part: one row, rewritten with each commit.
CREATE TABLE tally (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    body TEXT NOT NULL
);
