-- Each row carries a sum of itself (mending.py keeps it).
ALTER TABLE cursor ADD COLUMN digest BLOB;
ALTER TABLE dead_letter ADD COLUMN digest BLOB;
ALTER TABLE loss ADD COLUMN digest BLOB;
