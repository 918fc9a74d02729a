"""Network servers that get raw frames and send downlinks."""
