"""A batch's way, from the claim to the record."""
