"""Places that get readings, and the loop that carries them there."""
