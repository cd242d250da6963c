"""The client's configuration: precedence, sources, Stardag's names and files."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from astrarium.config import ClientConfig, load_config, load_settings
from astrarium.config.home import Home, key_place
from astrarium.errors import Invalid, NotFound

ID = "01a200ed-f46e-7131-838f-9e1cf87482f9"
OTHER = "01a200ed-f470-7702-8ba0-a28e47dfba66"
FILE = """\
[registry.central]
url = "https://{host}.example/"
[profile.prod]
registry = "central"
user = "ada@example.com"
{word} = "team"
environment = "prod"
[default]
profile = "prod"
"""


def write(folder: Path, host: str, word: str = "workspace") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(FILE.format(host=host, word=word))
    return folder / "config.toml"


class Machine:
    """A home, and a project two folders below it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.project = self.home / "work" / "project"
        self.below = self.project / "src" / "deep"
        self.below.mkdir(parents=True)

    def load(self, env: Mapping[str, str] | None = None, **more: object) -> ClientConfig:
        return load_config(env=env or {}, cwd=self.below, home=self.home, **more)  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_configured_at_first(machine: Machine) -> None:
    config = machine.load()
    assert (config.registry_url, config.workspace, config.profile, config.timeout_s) == ("", "", "", 30.0)
    assert config.target_roots == {"default": str(machine.home / ".astrarium/local-target-roots/default")}
    assert {config.source_of(name) for name in ("registry_url", "timeout_s", "target_roots")} == {"default"}


def test_the_nearest_file_wins(machine: Machine) -> None:
    order = [machine.home / ".stardag", machine.home / ".astrarium", machine.project / ".stardag", machine.project / ".astrarium"]
    for number, folder in enumerate(order):
        file = write(folder, f"host{number}", "organization" if folder.name == ".stardag" else "workspace")
        config = machine.load()
        assert config.registry_url == f"https://host{number}.example"
        assert config.sources == {
            name: str(file) for name in ("profile", "registry", "registry_url", "user", "workspace", "environment")
        }
        assert (config.workspace, config.environment, config.user, config.profile) == ("team", "prod", "ada@example.com", "prod")


def test_the_first_source_wins(machine: Machine) -> None:
    write(machine.home / ".astrarium", "file")
    env = {"STARDAG_REGISTRY_URL": "https://theirs.example"}
    assert machine.load(env).source_of("registry_url") == "STARDAG_REGISTRY_URL"
    env |= {"STARDAG_API_URL": "https://theirs-too.example"}
    assert machine.load(env).source_of("registry_url") == "STARDAG_API_URL"
    env |= {"ASTRARIUM_REGISTRY_URL": "https://ours.example"}
    assert machine.load(env).registry_url == "https://ours.example"
    env |= {"ASTRARIUM_API_URL": "https://ours-too.example"}
    assert machine.load(env).registry_url == "https://ours-too.example"
    config = machine.load(env, registry_url="https://told.example")
    assert (config.registry_url, config.source_of("registry_url")) == ("https://told.example", "argument")


@pytest.mark.parametrize("prefix", ["ASTRARIUM_", "STARDAG_"])
def test_every_variable_is_read(machine: Machine, prefix: str) -> None:
    variables = {
        "REGISTRY_URL": "https://x.example/", "WORKSPACE_ID": ID, "ENVIRONMENT_ID": OTHER, "API_KEY": "sk_0123456789",
        "API_TIMEOUT": "2.5", "NO_REGISTRY": "true", "TARGET_ROOTS__S3": "s3://bucket", "TARGET_ROOTS__DEFAULT": "~/data",
    }  # fmt: skip
    config = machine.load({prefix + name: value for name, value in variables.items()})
    assert (config.registry_url, config.timeout_s, config.no_registry) == ("https://x.example", 2.5, True)
    assert (config.workspace_id, config.environment_id) == (ID, OTHER)
    assert config.target_roots == {"s3": "s3://bucket", "default": str(machine.home / "data")}
    assert config.source_of("target_roots") == f"{prefix}TARGET_ROOTS__*"
    assert config.shown("api_key") == "sk_012345…"
    assert "0123456789" not in repr(config)
    given = machine.load({prefix + "TARGET_ROOTS": '{"default": "/a"}', prefix + "TARGET_ROOTS__B": "/b"})
    assert given.target_roots == {"default": "/a"}


@pytest.mark.parametrize(("variable", "value", "told"), [
    ("ASTRARIUM_API_TIMEOUT", "soon", "'soon' is not a number of seconds above 0"),
    ("STARDAG_API_TIMEOUT", "-1", "'-1' is not a number of seconds above 0"),
    ("ASTRARIUM_API_TIMEOUT", "nan", "not a number of seconds above 0"),
    ("STARDAG_NO_REGISTRY", "maybe", "'maybe' is not true or false"),
    ("ASTRARIUM_TARGET_ROOTS", "/data", "'/data' is not JSON like"),
    ("ASTRARIUM_REGISTRY_URL", "central.example", "'central.example' is no address"),
    ("ASTRARIUM_REGISTRY_URL", "https://me:secret@central.example", "is no address"),
])  # fmt: skip
def test_a_wrong_variable_is_named(machine: Machine, variable: str, value: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        machine.load({variable: value})
    (problem,) = caught.value.problems
    assert told in problem.message
    assert problem.file == variable
    assert caught.value.code == "bad_settings"


def test_a_profile_that_is_named_is_used_and_must_be_there(machine: Machine) -> None:
    file = write(machine.home / ".astrarium", "file")
    file.write_text(file.read_text() + '[profile.dev]\nregistry = "central"\nworkspace = "team"\nenvironment = "dev"\n')
    assert machine.load().environment == "prod"
    assert machine.load({"STARDAG_PROFILE": "dev"}).environment == "dev"
    assert machine.load({"STARDAG_PROFILE": "prod", "ASTRARIUM_PROFILE": "dev"}).source_of("profile") == "ASTRARIUM_PROFILE"
    assert machine.load({"ASTRARIUM_PROFILE": "prod"}, profile="dev").environment == "dev"
    with pytest.raises(NotFound) as caught:
        machine.load(profile="stage")
    assert caught.value.message == "there is no profile 'stage'"
    assert caught.value.hint.startswith("known are dev, prod; ")
    with pytest.raises(NotFound, match="there is no registry 'west'") as missing:
        machine.load(registry="west")
    assert "astrarium config registry add west --url" in missing.value.hint


def test_another_registry_leaves_the_usual_profile(machine: Machine) -> None:
    """Its user and its place mean nothing there; a profile that was named is meant all the same."""
    write(machine.home / ".astrarium", "file")
    other = machine.load(registry_url="http://localhost:8080")
    assert (other.registry, other.user, other.workspace, other.profile) == ("", "", "", "")
    assert other.key == "localhost_8080"
    named = machine.load({"ASTRARIUM_REGISTRY_URL": "http://localhost:8080"}, profile="prod")
    assert (named.workspace, named.environment, named.user) == ("team", "prod", "")
    same = machine.load({"ASTRARIUM_REGISTRY_URL": "https://file.example/"})
    assert (same.registry, same.user, same.workspace) == ("central", "ada@example.com", "team")


def test_another_workspace_leaves_the_profiles_environment(machine: Machine) -> None:
    write(machine.home / ".astrarium", "file")
    assert machine.load(workspace="other").environment == ""
    assert machine.load(workspace="team").environment == "prod"
    assert machine.load(environment="dev").workspace == "team"


def test_ids_and_target_roots_are_taken_from_what_is_remembered(machine: Machine) -> None:
    write(machine.home / ".astrarium", "file")
    home = Home(machine.home)
    assert (machine.load().workspace_id, machine.load().environment_id) == ("", "")
    home.keep_workspace_ids("central", {"team": ID})
    home.keep_environment_ids("central", ID, {"prod": OTHER})
    home.keep_target_roots("https://file.example/", ID, OTHER, {"default": "s3://bucket"})
    config = machine.load()
    assert (config.workspace_id, config.environment_id) == (ID, OTHER)
    assert config.target_roots == {"default": "s3://bucket"}
    assert config.source_of("target_roots") == str(home.roots_file)
    assert machine.load(environment="dev").target_roots != config.target_roots
    assert machine.load(no_registry=True).source_of("target_roots") == "default"
    assert machine.load(target_roots={"default": "/a"}).target_roots == {"default": "/a"}


def test_roots_of_an_api_key_are_its_own(machine: Machine) -> None:
    home = Home(machine.home)
    home.keep_target_roots("https://x.example", "", key_place("sk_1"), {"default": "/one"})
    env = {"ASTRARIUM_REGISTRY_URL": "https://x.example"}
    assert machine.load({**env, "ASTRARIUM_API_KEY": "sk_1"}).target_roots == {"default": "/one"}
    assert machine.load({**env, "ASTRARIUM_API_KEY": "sk_2"}).source_of("target_roots") == "default"
    assert "sk_1" not in home.roots_file.read_text()


def test_roots_may_stand_in_a_file(machine: Machine) -> None:
    file = write(machine.project / ".astrarium", "file")
    file.write_text(file.read_text() + '[target_roots]\ndefault = "~/results"\n')
    config = machine.load()
    assert config.target_roots == {"default": str(machine.home / "results")}
    assert config.source_of("target_roots") == str(file)


def test_unknown_names_are_errors_in_our_files_only(machine: Machine) -> None:
    text = '[profile.prod]\nregistry = "x"\nworkspce = "team"\n[defaults]\nprofile = "prod"\n'
    for folder in (machine.home / ".stardag", machine.home / ".astrarium"):
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text(text)
        if folder.name == ".stardag":
            assert machine.load().profile == ""
    with pytest.raises(Invalid) as caught:
        machine.load()
    told = [str(problem) for problem in caught.value.problems]
    assert told == [
        f"{folder}/config.toml: unknown name `workspce` (did you mean `workspace`?)",
        f"{folder}/config.toml: unknown name `defaults` (did you mean `default`?)",
    ]


@pytest.mark.parametrize(("text", "told"), [
    ("[registry", "is not valid TOML"),
    ("[registry.x]\nuri = 1\n", "`url` is missing"),
    ("registry = 1\n", "`registry` must be a table"),
    ("[registry.x]\nurl = 5\n", "Expected `str`"),
    ('[registry.x]\nurl = "x"\n', "'x' is no address"),
    ('[profile.p]\nworkspace = "a"\n', "missing required field `registry`"),
    ("[target_roots]\ndefault = 1\n", "Expected `str`"),
])  # fmt: skip
def test_a_broken_file_is_named(machine: Machine, text: str, told: str) -> None:
    (machine.home / ".stardag").mkdir(parents=True)
    (machine.home / ".stardag" / "config.toml").write_text(text)
    with pytest.raises(Invalid) as caught:
        machine.load()
    assert told in caught.value.problems[0].message
    assert caught.value.problems[0].file.endswith(".stardag/config.toml")


def test_variables_of_the_client_are_no_settings_of_the_server(machine: Machine) -> None:
    names = (
        "PROFILE REGISTRY_URL API_URL WORKSPACE_ID ENVIRONMENT_ID API_KEY API_TIMEOUT NO_REGISTRY TARGET_ROOTS TARGET_ROOTS__X"
    )
    load_settings({}, {f"ASTRARIUM_{name}": "x" for name in names.split()}, machine.home)
    with pytest.raises(Invalid):
        load_settings({}, {"ASTRARIUM_API_KEYS": "x"}, machine.home)


def test_a_client_loads_without_heavy_libraries() -> None:
    code = "import sys, astrarium.sdk.session; print({'pydantic', 'fastapi', 'sqlalchemy', 'httpx2', 'starlette'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout.strip() == "set()"
