"""`python -m astrarium.config` prints the page `docs/reference/settings.md`."""

from __future__ import annotations

from .described import reference

if __name__ == "__main__":
    print(reference(), end="")
