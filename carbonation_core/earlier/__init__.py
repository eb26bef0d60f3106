"""Takes over what carbonation 0.0.x remembered."""
