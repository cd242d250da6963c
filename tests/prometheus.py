"""A private Prometheus for tests: found in PATH, scraping given addresses many times a second, gone afterwards."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2

DEADLINE_S = 60.0
CONFIG = """
global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}
scrape_configs:
  - job_name: astrarium
    metrics_path: {path}
    scrape_interval: 500ms
    scrape_timeout: 500ms
    static_configs: [{{targets: ["{target}"]}}]
"""


def find_program() -> Path | None:
    found = shutil.which("prometheus")
    return Path(found) if found else None


class PrivatePrometheus:
    """One server process on a free loopback port; `target` is `host:port`."""

    def __init__(self, program: Path, target: str, path: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="astrarium-prometheus-"))
        (self.folder / "prometheus.yml").write_text(CONFIG.format(target=target, path=path))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        with open(self.folder / "log", "wb") as log:
            self._process = subprocess.Popen(
                [
                    program, f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data",
                    f"--web.listen-address={address}",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True,
            )  # fmt: skip
        self._client = httpx2.Client(base_url=f"http://{address}/api/v1", timeout=10)
        self._await_ready()

    def _await_ready(self) -> None:
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end and self._process.poll() is None:
            try:
                if self._client.get("/query", params={"query": "1"}).status_code == 200:
                    return
            except httpx2.TransportError:
                pass  # not listening yet
            time.sleep(0.05)
        self.stop()
        raise RuntimeError("Prometheus did not start")

    def query(self, text: str) -> list[dict[str, Any]]:
        """The samples of an instant query: labels under `metric`, `[time, text]` under `value`. A refused query is an error."""
        answer = self._client.get("/query", params={"query": text})
        assert answer.status_code == 200, f"{text}: {answer.text}"
        data = answer.json()["data"]
        if data["resultType"] == "scalar":
            return [{"metric": {}, "value": data["result"]}]
        found: list[dict[str, Any]] = data["result"]
        return found

    def value(self, text: str) -> float | None:
        """The one value of a query; None while there is none."""
        found = self.query(text)
        assert len(found) <= 1, f"{text} gave {found}"
        return float(found[0]["value"][1]) if found else None

    def until(self, text: str, wanted: float) -> None:
        """Wait until a query has this value."""
        end, last = time.monotonic() + DEADLINE_S, None
        while time.monotonic() < end:
            last = self.value(text)
            if last == wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"{text} is {last}, not {wanted}: {(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
