"""What steps that act elsewhere say becomes the parameters of their step types, and fits them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import msgspec
import pytest

from tests.spec.dag_yaml.compiling import dag, refusal, step

KINDS = {entry.name: entry for entry in entry_points(group="astrarium.steps")}


def params_of(text: str) -> dict[str, Any]:
    """A step's parameters, which its step type takes."""
    node = step(text)
    msgspec.convert(node.params, KINDS[node.kind].load().Params)
    return node.params


SSH = "type: ssh\nconfig: {user: u, host: h%s}\n%s"


@pytest.mark.parametrize(
    ("text", "params"),
    [
        (SSH % ("", "command: [a, b]"), {"commands": ["a", "b"]}),
        (
            SSH % (", port: 22022, key: k, password: p", "command: a"),
            {"port": "22022", "key": "k", "password": "p", "commands": ["a"]},
        ),
        (SSH % (", strictHostKey: false", "command: a"), {"strict_host_key": False, "commands": ["a"]}),
        (
            SSH % (", knownHostFile: f, shell: bash -x", "command: a"),
            {"known_hosts": "f", "shell": ["bash", "-x"], "commands": ["a"]},
        ),
        (SSH % (", shell: [bash]", "shell: zsh\ncommand: a"), {"shell": ["zsh"], "commands": ["a"]}),
        (SSH % ("", "command: python3\nscript: x"), {"command": "python3", "script": "x"}),
        ("executor: {type: ssh, config: {user: u, ip: h}}\ncommand: a", {"commands": ["a"]}),
    ],
)
def test_ssh(text: str, params: dict[str, Any]) -> None:
    assert params_of(text) == {"user": "u", "host": "h", "port": "22", **params}


def test_a_step_comes_before_the_ssh_of_its_dag() -> None:
    found = dag(
        "ssh: {user: u, host: h, port: '2', strictHostKey: false}\nsteps: [{type: ssh, config: {host: i}, command: a}, b]"
    )
    shared = {"user": "u", "port": "2", "strict_host_key": False}
    assert [node.params for node in found.graph.nodes] == [
        {**shared, "host": "i", "commands": ["a"]}, {**shared, "host": "h", "commands": ["b"]},
    ]  # fmt: skip


def test_mail() -> None:
    smtp = "smtp: {host: s, port: 587, username: u, password: '${P}'}"
    whole = "{from: a@x.org, to: [b@x.org], cc: c@x.org, subject: s, message: m, html: h, attachments: [f]}"
    node = dag(f"{smtp}\nsteps: [{{type: mail, config: {whole}}}]").graph.nodes[0]
    assert node.params == {
        "smtp": {"host": "s", "port": "587", "username": "u", "password": "${P}"}, "from": "a@x.org", "to": ["b@x.org"],
        "cc": ["c@x.org"], "subject": "s", "text": "m", "html": "h", "attachments": ["f"],
    }  # fmt: skip
    msgspec.convert(node.params, KINDS["mail"].load().Params)
    assert params_of("type: mail\nconfig: {from: a@x.org, to: b@x.org}") == {"from": "a@x.org", "to": ["b@x.org"]}


def test_archive() -> None:
    told = (
        "source: a, destination: b, format: zip, compressionLevel: 9, overwrite: true, preservePaths: false, stripComponents: 2, "
        "include: '*.a', exclude: [b, c], dryRun: true, verbose: true, followSymlinks: true, verifyIntegrity: true, continueOnError: true"
    )
    assert params_of(f"type: archive\ncommand: extract\nconfig: {{{told}, password: p}}") == {
        "operation": "extract", "source": "a", "destination": "b", "format": "zip", "compression_level": "9", "overwrite": True,
        "preserve_paths": False, "strip_components": "2", "include": ["*.a"], "exclude": ["b", "c"], "dry_run": True,
        "verbose": True, "follow_symlinks": True, "verify_integrity": True, "continue_on_error": True, "password": "p",
    }  # fmt: skip
    assert params_of("type: archive\ncommand: list\nconfig: {source: a, stripComponents: 0}") == {
        "operation": "list",
        "source": "a",
    }


@pytest.mark.parametrize(
    ("text", "params"),
    [
        ("container: web\ncommand: ls", {"exec": "web", "commands": ["ls"]}),
        ("container: {exec: web, user: u, env: {A: 1}}\ncommand: ls",
         {"exec": "web", "user": "u", "env": [["A", "1"]], "commands": ["ls"]}),
        ("container: {image: a, pullPolicy: true}", {"image": "a", "pull": "always"}),
        ("container: {image: a, pullPolicy: never, env: [A=1, {B: 2}]}\ncommand: x\nshell: bash -e",
         {"image": "a", "pull": "never", "env": [["A", "1"], ["B", "2"]], "commands": ["x"], "shell": ["bash", "-e"]}),
        ("container: {image: a, volumes: ['./d:/d'], ports: [80, '1:2'], network: host, platform: p, workDir: /w, name: n}\nscript: s",
         {"image": "a", "volumes": ["./d:/d"], "ports": ["80", "1:2"], "network": "host", "platform": "p", "working_dir": "/w",
          "name": "n", "script": "s"}),
        ("container: {image: a, startup: command, command: [serve], waitFor: healthy, logPattern: up, restartPolicy: always, "
         "keepContainer: true}\ncommand: x",
         {"image": "a", "startup": "command", "startup_command": ["serve"], "wait_for": "healthy", "log_pattern": "up",
          "restart_policy": "always", "keep": True, "commands": ["x"]}),
        ("type: docker\nconfig: {image: a, autoRemove: true, pull: missing, host: {Memory: 1}, container: {Hostname: h}}\ncommand: x",
         {"image": "a", "pull": "missing", "raw_host": {"Memory": 1}, "raw_container": {"Hostname": "h"}, "commands": ["x"]}),
        ("type: docker\nconfig: {containerName: web, autoRemove: false, exec: {Privileged: true}}\ncommand: x",
         {"exec": "web", "keep": True, "raw_exec": {"Privileged": True}, "commands": ["x"]}),
    ],
)  # fmt: skip
def test_containers(text: str, params: dict[str, Any]) -> None:
    assert params_of(text) == params


def test_the_container_of_a_dag_is_shared_by_its_own_steps() -> None:
    auths = "registryAuths: {ghcr.io: {username: u, password: p}}"
    found = dag(f"container: {{image: a}}\n{auths}\nsteps: [x, {{container: {{image: b}}, command: y}}]").graph.nodes
    login = {"ghcr.io": {"username": "u", "password": "p"}}
    assert found[0].params == {"image": "a", "shared": True, "registry_auths": login, "commands": ["x"]}
    assert found[1].params == {"image": "b", "registry_auths": login, "commands": ["y"]}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("type: ssh\nconfig: {user: u}\ncommand: x", "an ssh step needs `host`"),
        ("type: ssh\nconfig: {host: h}\ncommand: x", "an ssh step needs `user`"),
        ("type: ssh\nconfig: {user: u, host: h}", "an ssh step needs `command` or `script`"),
        ("type: mail\nconfig: {from: a@x.org}", "a mail step needs `to`"),
        ("type: mail\nconfig: {to: a@x.org}", "a mail step needs `from`"),
        ("type: archive\ncommand: squeeze\nconfig: {source: a}", "`command` must be one of create, extract, list"),
        ("type: archive\ncommand: list", "an archive step needs `source`"),
        ("type: archive\ncommand: create\nconfig: {source: a}", "`create` needs `destination`"),
        ("type: archive\ncommand: create\nconfig: {source: a, destination: b, password: p}", "never made with a password"),
        ("type: archive\ncommand: list\nconfig: {source: a, compressionLevel: 10}", "`compressionLevel` must be from -1 to 9"),
        ("type: docker\ncommand: x", "a docker step needs `image`"),
        ("type: docker\nconfig: {pull: always}\ncommand: x", "needs either `image` or `containerName`"),
        ("type: docker\nconfig: {image: a, containerName: b}\ncommand: x", "needs either `image` or `containerName`"),
        ("container: {image: a, startup: command}\ncommand: x", "`startup: command` needs `command`"),
        ("container: web", "a step in an existing container needs `command` or `script`"),
    ],
)
def test_what_is_missing_is_told_at_load(text: str, complaint: str) -> None:
    body = "\n".join(f"    {line}" for line in text.splitlines())
    assert complaint in " ".join(problem.message for problem in refusal(f"steps:\n  -\n{body}\n").problems)
