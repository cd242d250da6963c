"""Lives of this surface: what may happen to them, and what follows."""
