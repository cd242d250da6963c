"""`astrarium config`: the settings as they are now, and where each came from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..config import MEANINGS
from ..errors import Invalid
from .option import AsJson, DagsDir, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .screen import show_rows

APP = new_app()
SHOW = "show"
EXAMPLES = examples(
    "astrarium config show",
    "astrarium config show port",
    "ASTRARIUM_PORT=9000 astrarium config show | grep port",
    "astrarium config show --json",
)


@APP.command(epilog=EXAMPLES)
def config(
    what: Annotated[str, typer.Argument(metavar="show", help="What to do.")] = SHOW,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only this setting.")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
    dags_dir: DagsDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show every setting: its name, its value and where that comes from.

    docs/reference/settings.md says what they mean.
    """
    if what != SHOW:
        raise Invalid(f"config knows only `show`, not `{what}`", code="usage")
    if name and name not in MEANINGS:
        raise Invalid(f"there is no setting `{name}`", hint=f"settings: {', '.join(MEANINGS)}", code="usage")
    settings = settings_of(data_dir=data_dir, dags_dir=dags_dir, database_url=database_url)
    rows = [(key, _shown(settings.shown(key)), settings.source_of(key)) for key in MEANINGS if name in ("", key)]
    if as_json:
        print_json([{"name": key, "value": value, "source": source, "meaning": MEANINGS[key]} for key, value, source in rows])
    else:
        show_rows(("setting", "value", "source"), rows, "")
    return 0


def _shown(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)
