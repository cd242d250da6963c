"""`astrarium config registry`: the servers that are known here, by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config.home import Home
from ..config.profile import REGISTRY, check_name, drop_entry, is_address, put_entry, read_all
from ..errors import Invalid
from .client import Force, confirm
from .option import AsJson, examples, new_app, print_json
from .screen import show_rows

APP = new_app()
ADD_EXAMPLES = examples("astrarium config registry add central --url https://astrarium.example.com")
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the registry.")]


@APP.callback(epilog=ADD_EXAMPLES)
def registry() -> None:
    """The servers that are known here, by name. They stand in `~/.astrarium/config.toml`."""


@APP.command(epilog=ADD_EXAMPLES)
def add(
    name: Name,
    url: Annotated[str, typer.Option("-u", "--url", metavar="URL", help="Its address.")],
    as_json: AsJson = False,
) -> int:
    """Add a server, or give a known name another address. The sign-in at the old one is not used at the new one."""
    check_name(name, REGISTRY)
    url = url.rstrip("/")
    if not is_address(url):
        raise Invalid(f"{url!r} is no address", hint="write http://… or https://…", code="usage")
    home = Home()
    before = read_all(home, home.folder).registries.get(name, url)
    if before != url:
        home.forget_ids(name)
    path = put_entry(home, REGISTRY, name, {"url": url})
    if as_json:
        print_json({"name": name, "url": url, "file": str(path)})
    else:
        print(f"registry {name}: {url}" + (f" (was {before})" if before != url else ""))
    return 0


@APP.command("list", epilog=examples("astrarium config registry list", "astrarium config registry list --json"))
def list_registries(as_json: AsJson = False) -> int:
    """List the servers that are known here."""
    written = read_all(Home(), Path.cwd())
    rows = [(name, url, written.file_of(REGISTRY, name)) for name, url in sorted(written.registries.items())]
    if as_json:
        print_json([{"name": name, "url": url, "file": file} for name, url, file in rows])
    else:
        show_rows(("name", "url", "file"), rows, "no registries")
    return 0


@APP.command(epilog=examples("astrarium config registry remove central"))
def remove(name: Name, force: Force = False, as_json: AsJson = False) -> int:
    """Forget a server, with the sign-ins there. Its profiles are removed too."""
    home = Home()
    written = read_all(home, home.folder)
    url = written.url_of(name)
    profiles = [
        one
        for one, profile in written.profiles.items()
        if profile.registry == name and written.file_of("profile", one) == str(home.config_file)
    ]
    if written.file_of(REGISTRY, name) != str(home.config_file):
        raise Invalid(f"the registry {name!r} stands in {written.file_of(REGISTRY, name)}", hint="change that file")
    if profiles:
        confirm(f"Remove {name} ({url}) with its profiles {', '.join(profiles)}?", force)
    for one in profiles:
        drop_entry(home, "profile", one)
    if written.default in profiles:
        drop_entry(home, "default")
    drop_entry(home, REGISTRY, name)
    home.forget(name)
    home.forget_ids(name)
    if as_json:
        print_json({"name": name, "url": url, "profiles": profiles})
    else:
        print(f"removed {name}" + (f" and the profiles {', '.join(profiles)}" if profiles else ""))
    return 0
