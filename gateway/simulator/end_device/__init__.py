"""End devices as the LoRaWAN specification wants them: the second opinion about what a network does."""
