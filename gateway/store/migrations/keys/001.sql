-- One key for each part of the log. Forgetting a part is deleting its row here and then its file.
CREATE TABLE part_key (
    part TEXT PRIMARY KEY,
    wrapped INTEGER NOT NULL,
    material BLOB NOT NULL
) WITHOUT ROWID;
