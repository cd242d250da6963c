"""`astrarium version`."""

from __future__ import annotations

import platform

from .. import __version__
from .option import AsJson, examples, new_app, print_json

APP = new_app()


@APP.command(epilog=examples("astrarium version", "astrarium version --json"))
def version(as_json: AsJson = False) -> int:
    """Print the version of Astrarium, and with --json of what it runs on."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version(), "platform": platform.platform()})
    else:
        print(f"astrarium {__version__}")
    return 0
