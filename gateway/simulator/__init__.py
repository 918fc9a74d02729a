"""Air and devices on a desk: pure, told the time, and the same again for the same seed."""
