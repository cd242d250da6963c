"""Lives of this surface's own, as machines: what may happen to them, and what follows. Pure."""
