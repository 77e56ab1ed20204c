"""Every route, asked once, and whether it answers as it did before."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tests.torture.service_arena import picture
from tests.torture.soak.asking import V1, Answer, Asker
from tests.torture.soak.load import dialogue, forget
from tests.torture.soak.stage import INDEX, SERVICES, Stage

_JOB_SECONDS = 40.0


def as_before(stage: Stage, before: Mapping[str, str], seconds: float) -> tuple[float, list[str]]:
    """(after how many seconds each route was asked and answered as before, what did not until the end of this time)."""
    began = time.monotonic()
    while True:
        after = time.monotonic() - began
        now = answers(stage)
        other = [f"{route}: {was} -> {now.get(route)}" for route, was in before.items() if now.get(route) != was]
        if not other or after > seconds:
            return round(after, 1), other
        time.sleep(1.0)


def answers(stage: Stage) -> dict[str, str]:
    """A route with what was sent -> its status and what its answer consists of."""
    asker = Asker(stage)
    try:
        return _of_both(asker) | _of_query(asker) | _of_ingest(asker) | _of_a_job(asker)
    finally:
        asker.close()


def _of_both(asker: Asker) -> dict[str, str]:
    found = {}
    for service in SERVICES:
        for path in ("/_dar/health", "/_dar/ready", "/_dar/openapi/openapi.json", "/_dar/nowhere"):
            found[f"{service} {path}"] = _told(asker.ask(service, "GET", path))
        found[f"{service} /metrics"] = str(asker.metrics(service).status)
    return found


def _of_query(asker: Asker) -> dict[str, str]:
    found = {}
    for number in (0, 1):  # without and with turns
        body = {"index": INDEX, "dialogue": dialogue(number), "size": 3, "deadline_ms": 20_000}
        for route in ("search", "rewrite", "question"):
            asked = body if route != "question" else {name: body[name] for name in ("index", "dialogue", "deadline_ms")}
            answer = asker.ask("query", "POST", f"{V1}/{route}", json=asked)
            found[f"{route} {number}"] = (
                f"{_told(answer)} {_legs(answer.value)} {len(answer.value.get('hits', []))} hits"
            )
        events = asker.events("query", "POST", f"{V1}/search", 40.0, json=body)
        found[f"stream {number}"] = " ".join(f"{name} {_legs(value)}" for name, value in events)
    page = {"index": INDEX, "dialogue": dialogue(2), "size": 5, "offset": 5, "deadline_ms": 20_000}
    found["a page"] = _told(asker.ask("query", "POST", f"{V1}/search", json=page))
    found["choice"] = _told(asker.ask("query", "POST", f"{V1}/choice", json={"search": "a", "hit": "b"}))
    found["no dialogue"] = _told(asker.ask("query", "POST", f"{V1}/search", json={"index": INDEX}))
    found["another index"] = _told(asker.ask("query", "POST", f"{V1}/search", json=page | {"index": "other"}))
    return found


def _of_ingest(asker: Asker) -> dict[str, str]:
    found = {}
    fields = {"index": INDEX, "id": "route", "image": ("one.png", picture(90_001))}
    answer = asker.ask("ingest", "POST", f"{V1}/images", fields=fields)
    found["upload"] = f"{_told(answer)} {answer.value.get('indexed')} in"
    fields["image"] = ("one.png", b"no picture")
    answer = asker.ask("ingest", "POST", f"{V1}/images", fields=fields)
    found["no picture"] = f"{_told(answer)} {answer.value.get('failed')} failed"
    found["delete"] = _told(asker.ask("ingest", "DELETE", f"{V1}/images/route?index={INDEX}"))
    found["jobs"] = _told(asker.ask("ingest", "GET", f"{V1}/jobs"))
    found["no job"] = _told(asker.ask("ingest", "GET", f"{V1}/jobs/none"))
    found["a source outside"] = _told(
        asker.ask("ingest", "POST", f"{V1}/jobs", json={"index": INDEX, "source": "/usr"})
    )
    return found


def _of_a_job(asker: Asker) -> dict[str, str]:
    found = {}
    made = asker.ask("ingest", "POST", f"{V1}/jobs", json={"index": INDEX, "source": str(asker.stage.album(0))})
    found["a job"] = _told(made)
    job = made.value.get("id")
    if job is None:
        return found
    for change in ("pause", "resume"):
        answer = asker.ask("ingest", "POST", f"{V1}/jobs/{job}/{change}")
        found[change] = _told(answer)
    last: dict[str, Any] = {}
    for name, value in asker.events("ingest", "GET", f"{V1}/jobs/{job}", _JOB_SECONDS):
        last = value if name == "progress" else last
    found["its end"] = f"{last.get('state')} {last.get('done')} of {last.get('total')}, {last.get('failed')} failed"
    found["its failures"] = _told(asker.ask("ingest", "GET", f"{V1}/jobs/{job}/failures"))
    found["retry"] = _told(asker.ask("ingest", "POST", f"{V1}/jobs/{job}/retry", json={}))
    forget(asker, job)
    return found


def _told(answer: Answer) -> str:
    value = answer.value
    return f"{answer.named} {','.join(sorted(value))}" if isinstance(value, dict) else answer.named


def _legs(value: Any) -> str:
    legs = value.get("legs", {}) if isinstance(value, dict) else {}
    return ",".join(f"{name}={leg['status']}" for name, leg in sorted(legs.items()))
