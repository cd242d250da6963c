"""`astrarium openapi`: the description of the HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from ..server import create_app
from .option import examples, new_app, settings_of

APP = new_app()
EXAMPLES = examples("astrarium openapi > openapi.json", "astrarium openapi --output docs/reference/openapi.json")


@APP.command(epilog=EXAMPLES)
def openapi(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file instead.")] = None,
) -> int:
    """Print the OpenAPI 3.1 description of the HTTP API as JSON. Starts nothing."""
    document = create_app(settings_of()).openapi()
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")
    return 0
