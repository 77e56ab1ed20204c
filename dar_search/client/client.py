"""A client of the query service: search, stream, rewrite, next question. Loads no model library.

    with DarClient("http://127.0.0.1:8950", index="photos") as client:
        answer = client.search(["a red balloon", "where is it? at the beach"], size=5)
        for hit in answer.hits:
            print(hit.rank, hit.score, hit.source)

What the service refuses is raised as the same error that its code names (`dar_search.errors`), with `request_id`.
A service that is too busy (429, or 503 with Retry-After) is asked again when it says so. Safe for many threads.
"""

from __future__ import annotations

import base64
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
import urllib3

from dar_search.client.answers import Answer, Question, answer_from, error_from, object_from, question_from
from dar_search.data import Dialogue
from dar_search.errors import DarError, RequestError, ServiceUnreachable
from dar_search.method.dialogues import as_json, parse_dialogue
from dar_search.settings.proxies import ASKED_THROUGH, pool_for

API = "/_dar/v1"
KEY_HEADER = "X-DAR-Key"
_EVENTS = "text/event-stream"
_LARGEST_ANSWER = 256 << 20
_HINT = "Is it running (dar serve), and the address right?"


class DarClient:
    """Asks one service. Close it, or use it in a `with`.

    A dialogue is a `Dialogue`, or any of the forms that `dialogues.parse_dialogue` reads: a list of a caption and
    "question? answer" strings, an object, or plain text. Options are the routes' own: filter, size, offset, depth,
    fields, schedule, weights, fusion, keyword, exact, explain, imagine, edits, image, deadline_ms, outside_models,
    conversation; what is not given is as the service's settings have it.

    Raises InputError for a dialogue that does not read, the error that the service names, and ServiceUnreachable.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8950",
        *,
        key: str | None = None,
        authorization: str | None = None,
        index: str | None = None,
        timeout: float = 60.0,
        tries: int = 4,
        patience: float = 30.0,
    ) -> None:
        """
        Args:
            key: the service's key for this caller.
            authorization: the cluster's `Authorization` header, where the service searches with its caller's.
            index: asked where a call names none.
            timeout: seconds that an answer, or the next event of a stream, may take.
            tries: how often a busy service is asked; patience: seconds for all of them.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise RequestError("The service's address is no plain http(s) URL.", "Such as http://127.0.0.1:8950.")
        if tries < 1 or timeout <= 0 or patience < 0:
            raise RequestError("A client needs a time limit and at least one try.")
        self._url = url.rstrip("/")
        self._index, self._timeout, self._tries, self._patience = index, timeout, tries, patience
        self._headers = {"Accept-Encoding": "identity"}
        if key is not None:
            self._headers[KEY_HEADER] = key
        if authorization is not None:
            self._headers["Authorization"] = authorization
        self._pool = pool_for(self._url)

    def search(self, dialogue: Any = None, *, index: str | None = None, **options: Any) -> Answer:
        """The best answer that the deadline allows. image: a picture's bytes or path, beside the dialogue or alone."""
        return answer_from(self._ask("/search", self._body(dialogue, index, options)))

    def stream(self, dialogue: Any = None, *, index: str | None = None, **options: Any) -> Iterator[Answer]:
        """The text's answer first, then the imagined one; the last is `final`. Closing the iterator ends it early."""
        response = self._send("/search", self._body(dialogue, index, options), accept=_EVENTS)
        try:
            if not response.headers.get("Content-Type", "").startswith(_EVENTS):
                raise self._not_understood("answers a stream with no events")
            answer = None
            for name, data in self._events(response):
                if name == "error":
                    raise error_from(data, 500)
                answer = answer_from(data)
                yield answer
            if answer is None or not answer.final:
                raise ServiceUnreachable(f"{self._url} ended the stream before its last answer.", "Ask again.")
        finally:
            response.close()

    def rewrite(self, dialogue: Any = None, *, index: str | None = None, **options: Any) -> dict[str, Any]:
        """What a search would send, and nothing searched, as the service says it."""
        return self._ask("/rewrite", self._body(dialogue, index, options))

    def question(self, dialogue: Any, *, index: str | None = None, **options: Any) -> Question:
        """The question whose answer narrows the candidates most. Options: as the route has them."""
        return question_from(self._ask("/question", self._body(dialogue, index, options)))

    def choose(self, request_id: str, hit_id: str) -> bool:
        """Tell the service which hit was taken; whether it keeps a search log. request_id: `Answer.request_id`."""
        return bool(self._ask("/choice", {"search": request_id, "hit": hit_id}).get("logged"))

    def ready(self) -> bool:
        """Whether the service can answer: models warm, store reachable. False too where it does not answer."""
        try:
            response = self._pool.request(
                "GET", f"{self._url}/_dar/ready", headers=self._headers, timeout=self._timeout,
                retries=False, redirect=False,
            )  # fmt: skip
        except urllib3.exceptions.HTTPError:
            return False
        return response.status == 200

    def close(self) -> None:
        self._pool.clear()

    def __enter__(self) -> DarClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _body(self, dialogue: Any, index: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
        named = index or self._index
        given = {name: value for name, value in options.items() if value is not None}
        if "image" in given:
            given["image"] = _encoded(given["image"])
        if dialogue is not None or "image" not in given:
            read = dialogue if isinstance(dialogue, Dialogue) else parse_dialogue(dialogue)
            given["dialogue"] = as_json(read)
        return given | ({"index": named} if named else {})

    def _ask(self, route: str, body: Mapping[str, Any]) -> dict[str, Any]:
        response = self._send(route, body, accept="application/json")
        try:
            found = object_from(self._content(response))
        finally:
            response.release_conn()
        if found is None:
            raise self._not_understood("answers with something that is no JSON object")
        return found

    def _send(self, route: str, body: Mapping[str, Any], *, accept: str) -> urllib3.BaseHTTPResponse:
        """An answer with status 2xx, its body unread. Busy services are asked again."""
        try:
            content = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise RequestError(f"The request cannot be written as JSON: {error}.") from error
        deadline = time.monotonic() + self._patience
        for left in range(self._tries - 1, -1, -1):
            try:
                return self._send_once(route, content, accept)
            except _Busy as busy:
                # Only what the service itself asks for, and not beyond what the caller has patience for.
                if not left or time.monotonic() + busy.after > deadline:
                    raise busy.error from None
                time.sleep(busy.after)
        raise AssertionError  # the loop returns or raises

    def _send_once(self, route: str, content: bytes, accept: str) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.request(
                "POST",
                f"{self._url}{API}{route}",
                body=content,
                headers={**self._headers, "Content-Type": "application/json", "Accept": accept},
                timeout=urllib3.Timeout(connect=min(5.0, self._timeout), read=self._timeout),
                retries=False,
                redirect=False,  # it could carry the key to another host
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        if 200 <= response.status < 300:
            return response
        try:
            refused = error_from(object_from(self._content(response)) or {}, response.status)
        finally:
            response.release_conn()
        after = response.headers.get("Retry-After", "")
        if response.status in (429, 503) and after.isdecimal():
            raise _Busy(refused, float(after))
        raise refused

    def _content(self, response: urllib3.BaseHTTPResponse) -> bytes:
        content = bytearray()
        try:
            while part := response.read1(1 << 16):
                content += part
                if len(content) > _LARGEST_ANSWER:
                    response.close()
                    raise self._not_understood(f"answers with more than {_LARGEST_ANSWER >> 20} MiB")
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error
        return bytes(content)

    def _events(self, response: urllib3.BaseHTTPResponse) -> Iterator[tuple[str, dict[str, Any]]]:
        """Server-sent events, as the service writes them: an event and one data line each, between blank lines."""
        waiting = bytearray()
        try:
            while part := response.read1(1 << 16):
                waiting += part.replace(b"\r\n", b"\n")
                if len(waiting) > _LARGEST_ANSWER:
                    raise self._not_understood(f"sends an event of more than {_LARGEST_ANSWER >> 20} MiB")
                while (end := waiting.find(b"\n\n")) >= 0:
                    lines = [line.partition(b":") for line in bytes(waiting[:end]).split(b"\n")]
                    del waiting[: end + 2]
                    said = {name: value.removeprefix(b" ") for name, _, value in lines if name}
                    if b"data" in said:
                        data = object_from(said[b"data"])
                        if data is None:
                            raise self._not_understood("sends an event that is no JSON object")
                        yield said.get(b"event", b"message").decode(errors="replace"), data
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServiceUnreachable:
        if isinstance(error, urllib3.exceptions.ReadTimeoutError):
            return ServiceUnreachable(f"{self._url} gave no answer within {self._timeout:g} s.", "Raise the timeout.")
        hint = ASKED_THROUGH if isinstance(error, urllib3.exceptions.ProxyError) else _HINT
        return ServiceUnreachable(f"{self._url} cannot be reached ({type(error).__name__}).", hint)

    def _not_understood(self, what: str) -> ServiceUnreachable:
        return ServiceUnreachable(f"{self._url} {what}.", "Is it a dar-search query service of this version?")


def _encoded(image: Any) -> str:
    """A picture as the route takes it. Raises RequestError for what is neither its bytes nor a file."""
    try:
        data = image if isinstance(image, bytes) else Path(image).read_bytes()
    except (OSError, TypeError, ValueError) as error:
        raise RequestError(
            f"The image cannot be read ({type(error).__name__}).", "Give its bytes or a path."
        ) from error
    return base64.b64encode(data).decode()


class _Busy(Exception):
    def __init__(self, error: DarError, after: float) -> None:
        super().__init__(error.message)
        self.error, self.after = error, after
