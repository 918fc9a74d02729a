-- Whether the part of a key was made: of one that was and is not there, somebody has taken the file.
ALTER TABLE part_key ADD COLUMN made INTEGER NOT NULL DEFAULT 1;

-- Each row carries a sum of itself (mending.py keeps it).
ALTER TABLE part_key ADD COLUMN digest BLOB;
