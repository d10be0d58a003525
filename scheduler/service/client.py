"""The service, called from Python: answers as plain JSON values, refusals as the errors that the service meant."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import httpx

from scheduler.errors import DualtrackError, OverloadedError, UnavailableError
from scheduler.service.faults import error_from
from scheduler.service.settings import Endpoint

__all__ = ["Client"]

View = dict[str, Any]

BATCH_JOBS: Final = 1_000
BATCH_BYTES: Final = 4_000_000
BATCH_JOB_BYTES: Final = 512  # of key, separators and escapes around a job


class Client:
    """Raises UnavailableError when nobody answers, and the service's own error where it refuses."""

    def __init__(self, endpoint: Endpoint, timeout_s: float = 35.0) -> None:
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        self._url = endpoint.url
        self._http = httpx.Client(base_url=endpoint.url, headers=headers, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # jobs

    def submit(self, job: Mapping[str, Any], key: str = "") -> list[View]:
        """Enter one job (an array gives many). The same `key` again is answered alike and enters nothing."""
        headers = {"Idempotency-Key": key} if key else {}
        return self._items(self._send("POST", "/v1/jobs", json=job, headers=headers, tries=3 if key else 1))

    def submit_all(self, jobs: Sequence[tuple[Mapping[str, Any], str]]) -> list[list[View] | DualtrackError]:
        """Enter jobs with their keys (or empty texts), many with one commit: of each what it gave, or its refusal."""
        found: list[list[View] | DualtrackError] = []
        for part in _portions(jobs):
            items = [{"job": job, "key": key} for job, key in part]
            tries = 3 if all(key for _, key in part) else 1
            for item in self._items(self._send("POST", "/v1/jobs/batch", json={"items": items}, tries=tries)):
                found.append(item["jobs"] if "jobs" in item else error_from(200, item))
        return found

    def jobs(self, *, state: str = "", tenant: str = "", labels: Sequence[str] = (), limit: int = 1_000) -> list[View]:
        """Jobs, newest last; all pages up to `limit`."""
        found: list[View] = []
        after = ""
        while len(found) < limit:
            asked = {"state": state, "tenant": tenant, "limit": str(min(500, limit - len(found))), "after": after}
            page = self._send(
                "GET", "/v1/jobs", params={**{k: v for k, v in asked.items() if v}, "label": list(labels)}
            )
            found += self._items(page)
            after = page.get("next") or ""
            if not after:
                break
        return found

    def job(self, job: str) -> View:
        """One job by id, unambiguous prefix of an id, or unambiguous name."""
        return self._send("GET", _path("jobs", job))

    def reasons(self, job: str, *, changes: bool = False) -> View:
        """With `changes` also the place in the queue, a band of the start, and what would start it sooner."""
        return self._send("GET", _path("jobs", job, "reasons"), params={"changes": "true"} if changes else {})

    def decisions(self, job: str, attempt: int | None = None) -> list[View]:
        """Allocations of the job, made again from the journal."""
        asked = {} if attempt is None else {"attempt": attempt}
        return self._items(self._send("GET", _path("jobs", job, "decisions"), params=asked))

    def act(self, job: str, action: str) -> View:
        """cancel, suspend, resume or requeue."""
        return self._send("POST", _path("jobs", job, action))

    def update(self, job: str, changes: Mapping[str, Any]) -> View:
        return self._send("PATCH", _path("jobs", job), json=changes)

    def logs(
        self, job: str, *, attempt: int | None = None, rank: int | None = None, offset: int = 0
    ) -> tuple[bytes, bool]:
        """Output from byte `offset` and whether the attempt has ended."""
        asked = {"attempt": attempt, "rank": rank, "offset": offset}
        answer = self._request(
            "GET", _path("jobs", job, "logs"), params={k: v for k, v in asked.items() if v is not None}
        )
        return answer.content, answer.headers.get("X-Dualtrack-Ended") == "1"

    def plan(self, job: Mapping[str, Any]) -> View:
        return self._send("POST", "/v1/plans", json=job)

    # the fleet and its rules

    def fleet(self) -> View:
        return self._send("GET", "/v1/fleet")

    def node(self, node: str, action: str) -> View:
        """cordon, uncordon or drain."""
        return self._send("POST", _path("nodes", node, action))

    def reservations(self) -> list[View]:
        return self._items(self._send("GET", "/v1/reservations"))

    def reserve(self, wanted: Mapping[str, Any], *, dry_run: bool = False) -> View:
        """Keep nodes free in a window; with `dry_run` only tell which, and who would be in the way."""
        return self._send("POST", "/v1/reservations", json=wanted, params={"dry_run": "true"} if dry_run else {})

    def cancel_reservation(self, reservation: str) -> View:
        return self._send("DELETE", _path("reservations", reservation))

    def tenants(self) -> list[View]:
        return self._items(self._send("GET", "/v1/tenants"))

    def change_tenants(self, tenants: Mapping[str, Any], *, dry_run: bool = False) -> View:
        """Put a tenants file in force, or with `dry_run` only learn what would follow."""
        return self._send("POST", "/v1/tenants", json=tenants, params={"dry_run": "true"} if dry_run else {})

    def rules(self) -> View:
        return self._send("GET", "/v1/rules")

    def rates(self) -> View:
        return self._send("GET", "/v1/rates")

    def usage(self, by: Sequence[str] = ("tenant",), since: str = "", until: str = "") -> View:
        asked = {"by": ",".join(by), "from": since, "to": until}
        return self._send("GET", "/v1/usage", params={k: v for k, v in asked.items() if v})

    def info(self) -> View:
        """Version, mode and cluster of the service."""
        return self._send("GET", "/v1/info")

    def stop(self) -> View:
        return self._send("POST", "/v1/shutdown")

    def events(self, *, job: str = "", after: int = 0, follow: bool = False) -> Iterator[View]:
        """What happened, oldest first; with `follow` it goes on until the service ends."""
        asked: dict[str, str | int] = {"job": job, "after": after, "follow": "true" if follow else "false"}
        timeout = httpx.Timeout(10.0, read=60.0)
        try:
            with self._http.stream(
                "GET", "/v1/events", params={k: v for k, v in asked.items() if v}, timeout=timeout
            ) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise error_from(answer.status_code, _json(answer))
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx.TransportError as error:
            raise self._down(error) from error

    def ready(self) -> bool:
        """Whether the service answers and accepts work; never raises."""
        try:
            return self._http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    # the wire

    def _send(self, method: str, path: str, **options: Any) -> View:
        answer = _json(self._request(method, path, **options))
        if not isinstance(answer, dict):
            raise UnavailableError(f"the server at {self._url} does not answer as dualtrack does", "check --server")
        return answer

    def _request(self, method: str, path: str, *, tries: int = 1, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError) as error:
            # it may have had its effect: only what carries a key is asked for again
            if tries > 1:
                return self._request(method, path, tries=tries - 1, **options)
            raise UnavailableError(f"the service at {self._url} broke off before it answered", "try again") from error
        except httpx.TimeoutException as error:
            raise UnavailableError(f"the service at {self._url} did not answer in time", "try again") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._down(error) from error
        if answer.status_code >= 400:
            raise error_from(answer.status_code, _json(answer))
        return answer

    def _down(self, error: Exception) -> UnavailableError:
        reason = str(error) or type(error).__name__
        return UnavailableError(
            f"the service at {self._url} does not answer ({reason})", "start it with `dualtrack up`, or check --server"
        )

    @staticmethod
    def _items(page: View) -> list[View]:
        items = page.get("items")
        if not isinstance(items, list):
            raise OverloadedError("the service's answer holds no items", "check that versions agree")
        return items


def _portions(jobs: Sequence[tuple[Mapping[str, Any], str]]) -> Iterator[list[tuple[Mapping[str, Any], str]]]:
    """As the service takes them: so many, and so large together."""
    part: list[tuple[Mapping[str, Any], str]] = []
    size = 0
    for job, key in jobs:
        more = len(json.dumps(job)) + BATCH_JOB_BYTES
        if part and (len(part) == BATCH_JOBS or size + more > BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append((job, key))
        size += more
    if part:
        yield part


def _path(*parts: str) -> str:
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def _json(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return None
