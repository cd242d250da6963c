"""Versioned entries over HTTP: an answer tells the version as `ETag`, a change may say which version it saw as `If-Match`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.specs.tenancy.conftest import Server


@pytest.fixture
def places(open_server: Server) -> tuple[Server, dict[str, str]]:
    """Paths of one entry of each kind."""
    team, place = open_server.team("", "team")
    open_server.call("POST", team + "/environments", {"name": "Other", "slug": "other"}, status=201)
    root = open_server.call("POST", place + "/target-roots", {"name": "r", "uri_prefix": "s3://r"}, status=201)
    return open_server, {"root": f"{place}/target-roots/{root['id']}", "environment": place, "workspace": team}


def ask(server: Server, method: str, path: str, version: str, body: Any = None) -> Any:
    return server.client.request(method, "/api/v1" + path, json=body, headers={"if-match": version})


def test_a_change_that_saw_another_version_is_refused(places: tuple[Server, dict[str, str]]) -> None:
    server, paths = places
    for path in paths.values():
        seen = server.ask("GET", "/v1" + path).headers["etag"]
        changed = ask(server, "PATCH", path, seen, {"name": "one"})
        assert changed.status_code == 200 and changed.headers["etag"] != seen
        head = server.head()
        for version in (seen, '"0"', "W/" + changed.headers["etag"], "nonsense", '"99999999999999999999"'):
            for method in ("PATCH", "DELETE"):
                refused = ask(server, method, path, version, {"name": "two"} if method == "PATCH" else None)
                assert refused.status_code == 412, (method, path, version, refused.text)
                assert "version" in refused.json()["detail"]
        assert server.head() == head
        again = server.ask("GET", "/v1" + path)
        assert again.json()["name"] == "one" and again.headers["etag"] == changed.headers["etag"]
        assert ask(server, "PATCH", path, "*", {"name": "three"}).status_code == 200, "any version"
    for path in paths.values():
        seen = server.ask("GET", "/v1" + path).headers["etag"]
        assert ask(server, "DELETE", path, seen).status_code == 204


def test_a_taken_name_is_no_old_version(places: tuple[Server, dict[str, str]]) -> None:
    server, paths = places
    place = paths["environment"]
    server.call("POST", place + "/target-roots", {"name": "s", "uri_prefix": "s3://s"}, status=201)
    seen = server.ask("GET", "/v1" + paths["root"]).headers["etag"]
    assert ask(server, "PATCH", paths["root"], seen, {"name": "s"}).status_code == 409
