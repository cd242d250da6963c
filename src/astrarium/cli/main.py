"""The entry of the command line: the table of nouns, and the one place where an error becomes a message and an exit code.

`astrarium --help` is answered from the table alone; a noun's module is imported by its name when it is called.
Exit codes: 0 done, 1 it failed, 2 the command was not understood, 130 interrupted.
"""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from ..errors import AstrariumError, Invalid

COMMANDS: dict[str, tuple[str, str]] = {
    "run": (".run", "run a DAG file to its end; needs no server"),
    "start": (".run", "the same as `run`"),
    "exec": (".exec", "run one command as a run of its own"),
    "dry": (".dry", "show what a run of a DAG would do"),
    "enqueue": (".enqueue", "put a run into its queue"),
    "dequeue": (".dequeue", "take a waiting run out of its queue"),
    "validate": (".validate", "check DAG files and tell everything that is wrong with them"),
    "graph": (".graph", "run graphs, see what they did, answer them, fork and replay them"),
    "server": (".server", "serve the HTTP API and run what it is asked to"),
    "dags": (".dags", "list the DAGs of the DAG folder"),
    "runs": (".runs", "list runs, newest first"),
    "status": (".status", "show one run, step by step"),
    "logs": (".logs", "print what the steps of a run wrote"),
    "stop": (".stop", "stop a run"),
    "retry": (".retry", "run again what went wrong in a run"),
    "fork": (".fork", "go on from a step of a run with something different, as another run"),
    "restart": (".restart", "stop a DAG's run and start it anew"),
    "cleanup": (".cleanup", "remove old runs of a DAG, with their logs"),
    "admin": (".admin", "make the first user, rotate the server's key"),
    "audit": (".audit", "show, export and check the log of who did what"),
    "import": (".takeover", "take over DAGs and history of a Dagu installation"),
    "history": (".history", "take over only the history of a Dagu installation"),
    "openapi": (".openapi", "print the description of the HTTP API"),
    "auth": (".auth", "sign in at a server, see as whom, sign out"),
    "config": (".config", "show every setting and where it comes from; registries, profiles"),
    "environment": (".environment", "list, make and delete a workspace's environments"),
    "build": (".build", "make tasks of your own modules"),
    "builds": (".builds", "list builds of tasks, look at one, end one"),
    "tasks": (".tasks", "list tasks, look at one, retry or cancel one"),
    "plans": (".plans", "show which tasks a build consists of"),
    "deployments": (".deployments", "show with which code builds are done"),
    "executions": (".executions", "show who makes which task"),
    "concurrency-limits": (".concurrency", "say how many tasks of a kind may run at a time"),
    "version": (".version", "print the version"),
}
"""name → (module in this room, what it does)"""

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 128 + signal.SIGINT

HEAD = """Usage: astrarium [--debug] COMMAND [ARGUMENTS]...

  One control plane for work that forms a graph: runs YAML DAGs durably, and
  shows what happened.

Commands:
"""

FOOT = """
Options:
  --debug    show tracebacks of errors, and what happens inside
  --version  print the version
  --help     print this; `astrarium COMMAND --help` has examples

Examples:
  astrarium run hello.yaml              run a file, no server needed
  astrarium run hello.yaml -- NAME=you  the same with a parameter
  astrarium server                      serve http://127.0.0.1:8080/api/v2
  astrarium logs -f latest              follow what the newest run writes

RUN is a run id, the beginning of one, the name of a DAG (its newest run), or
`latest`. Every command that shows something speaks JSON with --json.
"""


def main() -> NoReturn:
    """The console script `astrarium`."""
    sys.exit(start(sys.argv[1:]))


def start(arguments: Sequence[str]) -> int:
    """Carry out one command line and return its exit code."""
    words, debug = _without_debug(arguments)
    if not words or words[0] in ("--help", "-h", "help"):
        if words and words[0] == "help" and len(words) > 1:
            return start([words[1], "--help"])
        (sys.stdout if words else sys.stderr).write(overview())
        return DONE if words else USAGE
    if words[0] in ("--version", "-V"):
        words[0] = "version"
    if words[0] not in COMMANDS:
        return _unknown(words[0])
    return _call(words[0], words[1:], debug)


def overview() -> str:
    """The help of `astrarium` itself."""
    width = max(map(len, COMMANDS))
    return HEAD + "".join(f"  {name:<{width}}  {what}\n" for name, (_, what) in COMMANDS.items()) + FOOT


def _without_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """Take `--debug` away wherever it stands before `--`."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = [word for word in arguments[:end] if word != "--debug"]
    return [*options, *arguments[end:]], len(options) < end


def _unknown(name: str) -> int:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean `{near[0]}`?" if near else "`astrarium --help` lists the commands"
    what = "option" if name.startswith("-") else "command"
    return _complain(f"there is no {what} `{name}`", hint, USAGE)


def _call(name: str, arguments: list[str], debug: bool) -> int:
    module = importlib.import_module(COMMANDS[name][0], __package__)
    typer = importlib.import_module("typer")
    if debug:
        importlib.import_module("logging").basicConfig(level="DEBUG", stream=sys.stderr)
    try:
        code = typer.main.get_command(module.APP).main(arguments, prog_name=f"astrarium {name}", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else DONE
    except (KeyboardInterrupt, typer.Abort):
        return _complain("interrupted", "", INTERRUPTED)
    except BrokenPipeError:
        return _reader_left()
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _explain(error, debug)


def _explain(error: Exception, debug: bool) -> int:
    if isinstance(error, Invalid):
        code = USAGE if error.code in ("bad_settings", "usage") else FAILED
        return _complain(error.message, error.hint, code, error.problems)
    if isinstance(error, AstrariumError):
        return _complain(error.message, error.hint, FAILED)
    exit_code = getattr(error, "exit_code", None)
    if isinstance(exit_code, int) and hasattr(error, "format_message"):  # what Typer could not read
        context = getattr(error, "ctx", None)
        return _complain(error.format_message(), f"`{context.command_path} --help` has examples" if context else "", exit_code)
    if isinstance(error, OSError):
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), "", FAILED)
    hint = "" if debug else "run it again with --debug for the traceback, and report it please"
    return _complain(f"internal error: {type(error).__name__}: {error}", hint, FAILED)


def _complain(message: str, hint: str, code: int, problems: Sequence[object] = ()) -> int:
    try:
        sys.stdout.flush()
        lines = [f"astrarium: {message}", *(f"  {problem}" for problem in problems), *([f"  hint: {hint}"] if hint else [])]
        print("\n".join(lines), file=sys.stderr)
    except BrokenPipeError:
        return _reader_left()
    return code


def _reader_left() -> int:
    """Whoever read our output (`| head`) has seen enough: that is no error worth a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + signal.SIGPIPE
