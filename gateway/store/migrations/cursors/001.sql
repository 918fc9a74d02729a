-- How far each destination is. Positions up to `prefix` are settled, and so are the ranges of `islands` beyond it.
CREATE TABLE cursor (
    sink TEXT NOT NULL,
    epoch TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (sink, epoch)
) WITHOUT ROWID;

-- What a destination refused for good.
CREATE TABLE dead_letter (
    sink TEXT NOT NULL,
    epoch TEXT NOT NULL,
    position INTEGER NOT NULL,
    reason TEXT NOT NULL,
    utc_us INTEGER NOT NULL,
    PRIMARY KEY (sink, epoch, position)
) WITHOUT ROWID;

-- What was lost of each device before a destination got it ('*': before it was stored), and told to nobody yet or told.
CREATE TABLE loss (
    sink TEXT NOT NULL,
    dev_eui BLOB NOT NULL,
    reason TEXT NOT NULL,
    first_f_cnt INTEGER NOT NULL,
    last_f_cnt INTEGER NOT NULL,
    records INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    until_us INTEGER NOT NULL,
    PRIMARY KEY (sink, dev_eui, reason)
) WITHOUT ROWID;
