-- Each row carries a sum of itself (mending.py keeps it).
ALTER TABLE session ADD COLUMN digest BLOB;
ALTER TABLE join_history ADD COLUMN digest BLOB;
ALTER TABLE served ADD COLUMN digest BLOB;
ALTER TABLE downlink ADD COLUMN digest BLOB;
ALTER TABLE checkpoint ADD COLUMN digest BLOB;
