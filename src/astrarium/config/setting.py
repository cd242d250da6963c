"""The settings of servers, workers and the commands on their data: names, defaults, meanings, ranges.

A new setting is a field of `Settings`, a line of `MEANINGS` and, where they say more, of `RANGES` and `DEFAULT_TEXTS`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import platformdirs

KIB = 1024
MIB = 1024 * KIB


def _data_dir() -> Path:
    return platformdirs.user_data_path("astrarium", appauthor=False)


def _processes() -> int:
    return max(8, 4 * (os.cpu_count() or 1))


def _cores() -> int:
    return os.cpu_count() or 1


class RemoteNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another server that requests may be passed on to: its API's address, and how to sign in there."""

    url: str
    username: str = ""
    password: str = ""
    token: str = ""
    verify_tls: bool = True

    def __repr__(self) -> str:
        """Without what signs us in."""
        known = "token" if self.token else f"user {self.username!r}" if self.username else "nobody"
        return f"{self.url} (signed in as {known}{'' if self.verify_tls else ', TLS not verified'})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server, a worker or a command of the CLI works by. Made by `load_settings`; tests may make one directly."""

    host: str = "127.0.0.1"
    port: int = 8080
    data_dir: Path = msgspec.field(default_factory=_data_dir)
    dags_dir: Path = Path()
    base_dag: Path = Path()
    graphs: str = ""
    graphs_dir: Path = Path()
    triggers: Path = Path()
    database_url: str = ""
    public_url: str = ""
    time_zone: str = ""
    server_profile: Literal["default", "cleared"] = "default"
    trusted_proxies: str = ""
    auth: Literal["none", "builtin", "oidc"] = "none"
    auth_token: str = ""
    auth_username: str = ""
    auth_password: str = ""
    admin_username: str = "admin"
    admin_password: str = ""
    master_key: str = ""
    session_s: int = 86_400
    oidc_issuer: str = ""
    oidc_external_issuer: str = ""
    oidc_audience: str = ""
    oidc_client_id: str = "astrarium"
    oidc_client_secret: str = ""
    oidc_sdk_client_id: str = "astrarium-cli"
    oidc_jwks_url: str = ""
    oidc_jwks_ttl_s: int = 300
    oidc_leeway_s: int = 30
    oidc_role: Literal["none", "viewer", "operator", "manager", "admin"] = "none"
    oidc_admins: str = ""
    max_workspaces: int = 0
    max_environments: int = 0
    queues: dict[str, int] = {}
    remote_nodes: dict[str, RemoteNode] = {}
    write_dags: bool = True
    run_dags: bool = True
    keep_days: int = 30
    keep_runs: int = 0
    notice_tries: int = 8
    notice_retry_s: float = 30.0
    egress_allow: str = ""
    metrics: Literal["private", "public"] = "private"
    max_processes: int = msgspec.field(default_factory=_processes)
    max_python_workers: int = msgspec.field(default_factory=_cores)
    drain_timeout_s: float = 10.0
    lease_s: float = 10.0
    default_shell: str = ""
    log_max_bytes: int = 64 * MIB
    body_max_bytes: int = 8 * MIB
    body_timeout_s: float = 60.0
    cors_origins: str = ""
    artifact_store: str = ""
    artifact_max_bytes: int = 1024 * MIB
    artifact_types: str = ""
    output_roots: str = ""
    graph_grants: str = ""
    graph_files: str = ""
    model_url: str = ""
    model_name: str = ""
    model_key_env: str = ""
    model_prices: str = ""
    pack_keys: str = ""
    stream_queue: int = 100
    stream_slow_s: float = 5.0
    rate_limit: Literal["auto", "off", "standard", "premium"] = "auto"
    rate_limit_requests: int = 0
    rate_limit_burst: int = 0
    rate_limit_window_s: int = 60
    forks_per_min: int = 10
    page_max: int = 1000
    max_yaml_bytes: int = 4 * MIB
    max_yaml_nodes: int = 500_000
    max_steps_per_run: int = 100_000
    max_children: int = 10_000
    max_child_depth: int = 20
    snapshot_steps: int = 64
    snapshot_bytes: int = 256 * KIB
    hot_runs: int = 20_000
    synchronous: Literal["full", "normal"] = "full"
    sources: dict[str, str] = {}
    """Where each value came from, by name; a name that is missing has its default. Not a setting itself."""

    def __post_init__(self) -> None:
        if self.dags_dir == Path():
            msgspec.structs.force_setattr(self, "dags_dir", self.data_dir / "dags")
        if self.base_dag == Path():
            msgspec.structs.force_setattr(self, "base_dag", self.data_dir / "base.yaml")
        if self.graphs_dir == Path():
            msgspec.structs.force_setattr(self, "graphs_dir", self.data_dir / "graphs")
        if self.triggers == Path():
            msgspec.structs.force_setattr(self, "triggers", self.data_dir / "triggers.yaml")

    def source_of(self, name: str) -> str:
        """Where the value of `name` came from: `--flag`, a variable's name, a file's path, or `default`."""
        return self.sources.get(name, "default")

    def shown(self, name: str) -> Any:
        """The value as people may see it: of a secret only whether there is one."""
        value = getattr(self, name)
        if name in SECRET and isinstance(value, str) and value:
            return _PASSWORD_IN_URL.sub(r"\1\2…", value) if name == "database_url" else "(set)"
        return value


MEANINGS: dict[str, str] = {
    "host": "Address the server listens on. Others than loopback ones need a way to sign in (`auth`, or `auth_token`).",
    "port": "TCP port the server listens on; 0 takes any free one.",
    "data_dir": "Folder of the database, blobs, logs and the server's own files.",
    "dags_dir": "Folder of the DAG files; empty means `dags` in the data folder.",
    "base_dag": "YAML file with defaults of all DAGs; it need not exist. Empty means `base.yaml` in the data folder.",
    "graphs": "Files of graphs the server offers, separated by commas; it does not start when one of them does not load.",
    "graphs_dir": "Folder whose graphs the server offers, too; one that does not load is reported. Empty means `graphs` in the data "
    "folder.",
    "triggers": "YAML file that says which webhooks start runs of graphs; it need not exist. Empty means `triggers.yaml` in the data "
    "folder.",
    "database_url": "`postgresql://…` to keep everything in PostgreSQL; empty means an embedded SQLite file in the data folder.",
    "public_url": "Address under which clients reach the server, used in links; empty means the address listened on.",
    "time_zone": "Time zone of schedules that name none, e.g. `Europe/Paris`; empty means the machine's.",
    "server_profile": "`cleared` = the server refuses to start without a sign-in and TLS in front of it, gives nobody what they were not "
    "given, and records every allowed request too; see docs/guide/profiles.md.",
    "trusted_proxies": "Addresses and networks of the proxies that end TLS in front of the server, separated by commas, e.g. "
    "`127.0.0.1, 10.1.0.0/16`. Only they are believed what they say of a request (`X-Forwarded-Proto`).",
    "auth": "Who may call: `none` = everybody who reaches the (loopback) address is the owner; `builtin` = users with passwords, and "
    "API keys; `oidc` = whoever signs in at an OIDC provider (`oidc_issuer`), users with passwords, and API keys.",
    "auth_token": "A token that acts as admin, whatever `auth` says; with one, no request is answered without a credential.",
    "auth_username": "User name of HTTP basic authentication, which acts as admin; needs `auth_password`.",
    "auth_password": "Password of HTTP basic authentication.",
    "admin_username": "Name of the first user, made when there is none and `admin_password` is set.",
    "admin_password": "Password of the first user.",
    "master_key": "Secret the server's own keys derive from, at least 32 characters; several servers on one database need the same. "
    "Older ones follow after commas. Empty means `keys/master.key` in the data folder, made at the first start.",
    "session_s": "Seconds a sign-in lasts.",
    "oidc_issuer": "Address of the OIDC provider people sign in at (`auth = oidc`), as its tokens name it, e.g. "
    "`https://login.example/realms/team`.",
    "oidc_external_issuer": "Address of the same provider as browsers reach it, where that is another one.",
    "oidc_audience": "Audiences whose tokens are taken, separated by commas; empty means the two client ids.",
    "oidc_client_id": "Client id of this server's web pages at the provider. Its redirect address is `<public_url>/api/v1/auth/callback`.",
    "oidc_client_secret": "Secret of that client; empty for a public one.",
    "oidc_sdk_client_id": "Client id of command lines, a public client with the redirect address `http://localhost:8400/callback`.",
    "oidc_jwks_url": "Where the provider's keys are; empty means where its discovery document says.",
    "oidc_jwks_ttl_s": "Seconds the provider's keys are kept; an unknown one is asked for at once.",
    "oidc_leeway_s": "Seconds the provider's clock may differ from ours.",
    "oidc_role": "Role of newly signed-in people on the server itself, with its DAG files; `none` = they have only workspaces of their "
    "own.",
    "oidc_admins": "E-mail addresses, separated by commas, whose owners are admins of this server when they first sign in.",
    "max_workspaces": "Most workspaces one user may make; 0 = no limit.",
    "max_environments": "Most environments of one workspace; 0 = no limit.",
    "queues": "Global queues and how many of their runs may be active at once, e.g. `{heavy = 4}`.",
    "remote_nodes": "Other servers that requests with `remoteNode=NAME` are passed on to: `{NAME = {url = …, token = …}}`.",
    "write_dags": "Whether DAG files may be changed through the API.",
    "run_dags": "Whether runs may be started, stopped and changed through the API.",
    "keep_days": "Days ended runs are kept, with their logs, where the DAG says nothing; negative = for ever.",
    "keep_runs": "Newest ended runs of each DAG that are kept, where the DAG says nothing; 0 = no limit by number.",
    "notice_tries": "How often the delivery of a mail or webhook about a run is tried.",
    "notice_retry_s": "Seconds between the first two tries of a delivery; each further wait is twice as long.",
    "egress_allow": "Addresses inside your network that webhooks may reach all the same: host names, addresses and networks, each "
    "with or without a port, separated by commas, e.g. `hooks.internal:8443, 10.1.0.0/16`.",
    "metrics": "Who may read `/metrics`: `private` = callers with the capability `metrics:read`, of their own workspace; "
    "`public` = everybody.",
    "max_processes": "Most child processes alive at once.",
    "max_python_workers": "Most warm Python worker processes.",
    "drain_timeout_s": "Seconds running steps may take to finish when the server is told to stop; then they are signalled.",
    "lease_s": "Seconds a server that fell silent keeps its work before another one may take it (PostgreSQL).",
    "default_shell": "Shell of commands that name none; empty means `$SHELL`, else `sh`.",
    "log_max_bytes": "Most bytes kept of one output stream of one try; the rest is cut, with a note in the log.",
    "body_max_bytes": "Largest HTTP request body.",
    "body_timeout_s": "Seconds a client may take to send the body of a request.",
    "artifact_store": "Where the bytes of artifacts are kept: a folder (absolute path), or `s3://BUCKET/PREFIX`, `gs://…`, `az://…` (needs "
    "the extra `[object-store]`; credentials as the provider's own tools find them). Empty means `blobs` in the data folder.",
    "artifact_max_bytes": "Largest artifact.",
    "artifact_types": "Content types artifacts may have, separated by commas, e.g. `image/*, text/plain`; empty means all.",
    "output_roots": "Places whose files the server may show as outputs of tasks, separated by commas: folders (absolute paths), "
    "`s3://BUCKET/PREFIX`, `gs://…`, `az://…`. An output must lie in a target root of its environment too. Empty means none.",
    "graph_grants": "What the nodes and tools of graphs may do: permissions separated by commas, `*` stands for anything, e.g. "
    "`tools:std:file_*, db.*:read`. Tools that write, reach out or run programs are refused without theirs.",
    "graph_files": "Folder in which the tools `std.file_*` and `std.sql_query` find files; empty means the run's own scratch folder.",
    "model_url": "Address of an API as OpenAI's, e.g. `http://127.0.0.1:30000/v1`, for nodes that ask a model and name no `api_base`.",
    "model_name": "Model that such nodes ask when they name none.",
    "model_key_env": "Name of the variable that holds the API key of `model_url`.",
    "model_prices": "What a million tokens of a model cost, as decimals: `tiny=0.15` or question/answer `large=2.50/10`, separated by "
    "commas; `*` is any other model. A node with a budget of cost needs the price of the model it asks.",
    "pack_keys": "Keys whose signatures on governance packs count, and no others: `KEY_ID=FINGERPRINT`, separated by commas. Empty means "
    "those in the folder `trusted_keys` of the data folder, and, where signatures are not demanded, each that is met first.",
    "stream_queue": "Frames kept for one WebSocket client that has not taken them yet.",
    "stream_slow_s": "Seconds a WebSocket client may take nothing while its queue is full, before it is cut off.",
    "cors_origins": "Origins whose web pages may call the API, separated by commas, e.g. `https://tools.example`; `*` = every page, "
    "only with a way to sign in.",
    "rate_limit": "How often each caller may ask: `standard` = 1000 requests a minute, 100 at once; `premium` = 5000 and 500; `off` = "
    "nobody is refused; `auto` = `off` on a loopback address, else `standard`.",
    "rate_limit_requests": "Requests in each window, in place of the tier's number; switches `auto` on. 0 = the tier's.",
    "rate_limit_burst": "Requests at once, in place of the tier's number. 0 = the tier's.",
    "rate_limit_window_s": "Length of the window, in seconds.",
    "forks_per_min": "Counterfactuals each caller may start in a minute.",
    "page_max": "Most items on one page of a list.",
    "max_yaml_bytes": "Largest YAML file read as a DAG.",
    "max_yaml_nodes": "Most YAML nodes in one file, aliases counted each time they are used.",
    "max_steps_per_run": "Most visits of nodes in one run, loops and repeats included.",
    "max_children": "Most child runs of one step.",
    "max_child_depth": "Deepest nesting of child runs.",
    "snapshot_steps": "A run's state is written out after this many steps (reading is snapshot plus the events since).",
    "snapshot_bytes": "A run's state is also written out after this many bytes of state changes.",
    "hot_runs": "Most runs whose state is kept in memory.",
    "synchronous": "`full`: every commit is on the disk before anything follows from it. `normal`: a power cut may lose the "
    "last moments, never the consistency (SQLite).",
}
"""One sentence a setting, in the order in which they are shown."""

DEFAULT_TEXTS = {
    "data_dir": "the platform's user data folder, `astrarium`",
    "dags_dir": "`dags` in the data folder",
    "base_dag": "`base.yaml` in the data folder",
    "graphs_dir": "`graphs` in the data folder",
    "triggers": "`triggers.yaml` in the data folder",
    "time_zone": "the machine's",
    "max_processes": "4 × cores, at least 8",
    "max_python_workers": "the number of cores",
}

RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "max_processes": (1, 100_000),
    "max_python_workers": (1, 10_000),
    "drain_timeout_s": (0, 86_400),
    "lease_s": (1, 3_600),
    "session_s": (60, 31_536_000),
    "oidc_jwks_ttl_s": (1, 86_400),
    "oidc_leeway_s": (0, 600),
    "max_workspaces": (0, 1_000_000),
    "max_environments": (0, 1_000_000),
    "keep_days": (-1, 36_500),
    "keep_runs": (0, 1_000_000_000),
    "notice_tries": (1, 100),
    "notice_retry_s": (0.01, 86_400),
    "log_max_bytes": (4 * KIB, 1 << 50),
    "body_max_bytes": (KIB, 1 << 40),
    "body_timeout_s": (0.05, 86_400),
    "artifact_max_bytes": (1, 1 << 50),
    "stream_queue": (1, 1_000_000),
    "stream_slow_s": (0.05, 3_600),
    "rate_limit_requests": (0, 1_000_000_000),
    "rate_limit_burst": (0, 1_000_000_000),
    "rate_limit_window_s": (1, 86_400),
    "forks_per_min": (1, 1_000_000),
    "page_max": (1, 100_000),
    "max_yaml_bytes": (KIB, 1 << 30),
    "max_yaml_nodes": (100, 100_000_000),
    "max_steps_per_run": (1, 100_000_000),
    "max_children": (1, 10_000_000),
    "max_child_depth": (1, 1_000),
    "snapshot_steps": (1, 1_000_000),
    "snapshot_bytes": (KIB, 1 << 30),
    "hot_runs": (1, 100_000_000),
}

SECRET = frozenset(
    ("remote_nodes", "auth_token", "auth_password", "admin_password", "master_key", "oidc_client_secret", "database_url")
)
"""Settings whose values may hold credentials and are not repeated in a complaint."""
_PASSWORD_IN_URL = re.compile(r"(://[^/?#@:]*:).*(?=@)|([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
"""What stands before the last `@` is hidden: a password may hold any sign, quoted or not."""
