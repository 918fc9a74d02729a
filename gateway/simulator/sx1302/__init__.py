"""An SX1302 below its driver: registers, firmware, FIFO, radios, and a USB bridge on a pseudo-terminal."""
