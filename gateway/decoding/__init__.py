"""From payload bytes to named quantities."""
