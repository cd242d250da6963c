"""`astrarium exec -- COMMAND`: one command as a run, with its log, exit code and history."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ..errors import Invalid
from .definition import open_catalog
from .option import AsJson, DatabaseUrl, DataDir, examples, new_app, settings_of
from .run import RunId, carry_out

APP = new_app()
MAX_NAME = 40
EXAMPLES = examples(
    "astrarium exec -- make report",
    "astrarium exec -N backup -E TARGET=/srv/b -- ./backup.sh --full",
    "astrarium exec --shell bash -- 'for f in *.csv; do wc -l $f; done'",
)


@APP.command(epilog=EXAMPLES)
def exec_command(
    words: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="The command; one word is a shell line.")],
    name: Annotated[
        str, typer.Option("-N", "--name", metavar="NAME", help="Name of the run's DAG; exec-<command> if not given.")
    ] = "",
    run_id: RunId = "",
    env: Annotated[
        list[str] | None, typer.Option("-E", "--env", metavar="NAME=VALUE", help="A variable; may be repeated.")
    ] = None,
    dotenv: Annotated[
        list[str] | None, typer.Option("--dotenv", metavar="FILE", help="A file of variables; may be repeated.")
    ] = None,
    workdir: Annotated[Path | None, typer.Option("--workdir", metavar="FOLDER", help="Where it runs; here if not given.")] = None,
    shell: Annotated[str, typer.Option("--shell", metavar="SHELL", help="Shell of the command.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Leave it to the server and return at once.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Run one command as a run of its own: logged, listed by `astrarium runs`, stopped and retried like any other.

    Needs no server. Exit code 0 when the command succeeded, else 1.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    wrong = [text for text in env or [] if not text.partition("=")[1]]
    if wrong:
        raise Invalid(f"`{wrong[0]}` is no variable", hint="write NAME=VALUE", code="usage")
    folder = (workdir or Path.cwd()).absolute()
    if not folder.is_dir():
        raise Invalid(f"there is no folder {folder}", hint="name one with --workdir", code="usage")
    line = words[0] if len(words) == 1 else shlex.join(words)
    spec: dict[str, Any] = {"name": name or _name_of(words[0]), "workingDir": str(folder)}
    spec |= {"shell": shell} if shell else {}
    spec |= {"env": env} if env else {}
    spec |= {"dotenv": [str(Path(file).absolute()) for file in dotenv]} if dotenv else {}
    spec["steps"] = [{"name": "main", "command": line}]
    text = yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    compiled = open_catalog(settings).compile(text, "exec", file="exec", base_dir=folder)
    return carry_out(settings, folder / "exec.yaml", text, compiled, ("", run_id, ""), detach, as_json)


def _name_of(word: str) -> str:
    first = Path(next(iter(word.split()), "")).name
    return ("exec-" + (re.sub(r"[^A-Za-z0-9_.-]", "_", first) or "command"))[:MAX_NAME]
