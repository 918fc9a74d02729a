-- Each row carries a sum of itself (mending.py keeps it).
ALTER TABLE device ADD COLUMN digest BLOB;
ALTER TABLE session ADD COLUMN digest BLOB;
ALTER TABLE removed ADD COLUMN digest BLOB;
ALTER TABLE revision ADD COLUMN digest BLOB;
ALTER TABLE checkpoint ADD COLUMN digest BLOB;
