"""The service inside the test's own process, with fake executors, and its API without a socket."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from scheduler.journal.store import open_journal
from scheduler.model.events import Configured
from scheduler.service.api import build_app
from scheduler.service.configuration import Sources, configured
from scheduler.service.daemon import ServeOptions, Service
from scheduler.service.identity import Role
from scheduler.service.modes import RunMode
from scheduler.service.recovery import recover
from scheduler.service.wiring import Backends, RayCluster


class Embedded(Struct):
    """`call` speaks to the API as whoever the token says; the default is an administrator."""

    service: Service
    app: Any
    token: str

    def token_for(self, role: Role, tenant: str = "", user: str = "someone") -> str:
        return self.service.tokens.issue(user, tenant, role)

    def call(self, method: str, path: str, *, token: str | None = None, **options: Any) -> httpx.Response:
        headers = dict(options.pop("headers", {}))
        shown = self.token if token is None else token
        if shown:
            headers["Authorization"] = f"Bearer {shown}"

        async def speak() -> httpx.Response:
            peer = options.pop("peer", "127.0.0.1")
            transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=(peer, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
                return await client.request(method, path, headers=headers, **options)

        return asyncio.run(speak())

    def submit(self, **fields: Any) -> dict[str, Any]:
        """Enter a job and return its view."""
        answer = self.call("POST", "/v1/jobs", json=a_job(**fields))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()["items"][0]
        return found


def a_job(name: str = "job", accelerator: str = "h200", count: int = 1, **fields: Any) -> dict[str, Any]:
    """The body of a small job of the tenant `search`."""
    return {
        "type": "training",
        "name": name,
        "tenant": "search",
        "entrypoint": ["python", "train.py"],
        "resources": {"options": [{"accelerator": accelerator, "count": count}]},
        **fields,
    }


@contextlib.contextmanager
def embedded(
    home: Path, *, mode: RunMode = RunMode.ENFORCE, cluster: str = "demo", config: Configured | None = None
) -> Iterator[Embedded]:
    config = config or configured(Sources(cluster=cluster, executor="fake"))
    with contextlib.closing(open_journal(home / "journal.db")) as journal:
        found = recover(journal, config)
        backends = Backends(home, config.cluster, found.clock, RayCluster())
        service = Service(ServeOptions(home=home, sources=None, mode=mode), config, journal, found, backends)
        try:
            service.begin()
            token = service.tokens.issue("root", "", Role.ADMIN)
            yield Embedded(service, build_app(service.desk("http://test")), token)
        finally:
            service.close()
