"""`carbonation run`: its processes, kept alive."""
