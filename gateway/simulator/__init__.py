"""Air and devices on a desk."""
