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
