"""A Reformulator behind any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one."""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import stamina
import urllib3
from pydantic import SecretStr

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import ModelFailed, ModelTimeout, SettingsError
from dar_search.models import instructions

_TRY_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_HINTS = {401: "Check the endpoint's API key.", 403: "Check the endpoint's API key and what it may use."}
_LARGEST_ANSWER = 256 * 1024
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class EndpointOptions:
    """Where the endpoint is and how to ask it.

    Attributes:
        url: up to and with the version, such as http://localhost:11434/v1.
        model: its name there.
        seconds: the longest that one reformulation may take, with all its tries.
        tries: how often a busy or failing endpoint is asked.
        structured: ask for an answer that keeps to the JSON schema; given up where the endpoint does not know it.
    """

    url: str
    model: str
    key: SecretStr | None = None
    seconds: float = 20.0
    tries: int = 3
    prompts: int = 1
    most_tokens: int = 400
    structured: bool = True

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError("The endpoint's address is no http(s) URL.", "Such as http://localhost:11434/v1.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise SettingsError(
                "The endpoint's address holds more than host and path.", "Give the key as its own setting."
            )
        if not self.model or self.seconds <= 0 or self.tries < 1 or self.prompts < 1:
            raise SettingsError("The endpoint needs a model's name, a time limit and at least one try.")


@dataclass(frozen=True, slots=True)
class _Question(Generic[Answer]):
    """What the endpoint is asked. read: its text -> the answer; raises ModelFailed."""

    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any]
    most_tokens: int
    read: Callable[[str], Answer]


class EndpointReformulator:
    """Asks the endpoint; raises ModelFailed or ModelTimeout where no usable answer comes. Safe for many threads."""

    def __init__(self, options: EndpointOptions) -> None:
        self._options = options
        self._structured = options.structured

    @property
    def name(self) -> str:
        return f"endpoint:{self._options.model}"

    @property
    def key(self) -> str:
        """See `ports.KeyedReformulator`. What the endpoint itself changes under the same model's name is not in it."""
        asked = self._options
        shaping = (asked.url, asked.model, asked.prompts, asked.most_tokens, asked.structured)
        return f"endpoint {shaping} {instructions.identity()}"

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        """Asks, and asks again where that may help, for `seconds` at most, whatever the server does meanwhile."""
        prompts = self._options.prompts
        return self._asked(
            _Question(
                instructions.messages(dialogue, prompts),
                instructions.SCHEMA,
                self._options.most_tokens * prompts,
                lambda text: instructions.read(text, reformulator=self.name, prompts=prompts),
            )
        )

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See `ports.ChatModel`: one JSON object with a "text", in the same time and with the same tries."""
        return self._asked(_Question(messages, instructions.TEXT_SCHEMA, self._options.most_tokens, str))

    def _asked(self, question: _Question[Answer]) -> Answer:
        deadline = time.monotonic() + self._options.seconds
        answer: list[Answer] = _Call(self._ask_until_answered, (question, deadline)).result(deadline)
        if not answer:
            raise ModelTimeout(
                f"{self.name} gave no answer within {self._options.seconds:g} s.",
                "Raise the limit, or use a faster model.",
            )
        return answer[0]

    def _ask_until_answered(self, question: _Question[Answer], deadline: float) -> Answer:
        def next_wait(error: Exception) -> bool | float:
            if not isinstance(error, _WorthAnotherTry):
                return False
            # A wait beyond the deadline would only delay the error.
            return (error.after or True) if time.monotonic() + error.after < deadline else False

        try:
            for attempt in stamina.retry_context(
                on=next_wait,
                attempts=self._options.tries,
                timeout=self._options.seconds,
                wait_initial=0.25,
                wait_max=4.0,
                wait_jitter=0.25,
            ):
                with attempt:
                    return self._ask(question, deadline)
        except _WorthAnotherTry as last:
            raise last.failure from last
        raise ModelFailed(f"{self.name} was not asked.")

    def _ask(self, question: _Question[Answer], deadline: float) -> Answer:
        """One try. Raises _WorthAnotherTry, or ModelFailed for what asking again cannot mend."""
        try:
            status, retry_after, body = self._post(question, self._structured, deadline)
            if status in (400, 422) and self._structured:
                # Not every server knows schemas; the answer is checked here in any case.
                status, retry_after, body = self._post(question, False, deadline)
                self._structured = status != 200
        except urllib3.exceptions.HTTPError as error:
            hint = "Is it running, and the URL right?"
            failure = ModelFailed(f"{self.name} cannot be reached ({type(error).__name__}).", hint)
            raise _WorthAnotherTry(failure) from error
        if status in _TRY_AGAIN:
            raise _WorthAnotherTry(self._refused(status), retry_after)
        if status != 200:
            raise self._refused(status)
        try:
            return question.read(self._text_of(body))
        except ModelFailed as error:
            raise _WorthAnotherTry(error) from error

    def _post(self, question: _Question[Any], structured: bool, deadline: float) -> tuple[int, float, bytes]:
        """(status, seconds to wait before the next try, body). Raises urllib3's errors, ModelFailed."""
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": list(question.messages),
            "temperature": 0,
            "max_tokens": question.most_tokens,
            "stream": False,
        }
        if structured:
            schema = {"name": "answer", "strict": True, "schema": question.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if self._options.key is not None:
            headers["Authorization"] = f"Bearer {self._options.key.get_secret_value()}"
        response = self._pool.request(
            "POST",
            f"{self._options.url.rstrip('/')}/chat/completions",
            body=json.dumps(body).encode(),
            headers=headers,
            timeout=urllib3.Timeout(
                connect=min(5.0, self._options.seconds), read=max(0.01, deadline - time.monotonic())
            ),
            retries=False,
            # A redirect could carry the key to another host.
            redirect=False,
            preload_content=False,
            decode_content=False,
        )
        try:
            return response.status, _seconds(response.headers.get("Retry-After")), self._content(response, deadline)
        finally:
            response.close()

    def _content(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        content = bytearray()
        while part := response.read1(65536):
            content += part
            if len(content) > _LARGEST_ANSWER:
                raise ModelFailed(f"{self.name} answered with more than {_LARGEST_ANSWER // 1024} KiB.")
            if time.monotonic() > deadline:
                raise ModelTimeout(f"{self.name} answers too slowly.")
        return bytes(content)

    def _text_of(self, body: bytes) -> str:
        try:
            content = json.loads(body)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise ModelFailed(f"{self.name} answered with something that is no chat completion.") from error
        if not isinstance(content, str):
            raise ModelFailed(f"{self.name} answered without text.")
        return content

    def _refused(self, status: int) -> ModelFailed:
        hint = _HINTS.get(status, "Check the endpoint's URL and its model's name." if status < 429 else "")
        return ModelFailed(f"{self.name} answered with HTTP status {status}.", hint)

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        parts = urllib.parse.urlsplit(self._options.url)
        proxy = urllib.request.getproxies().get(parts.scheme)
        if proxy and not urllib.request.proxy_bypass(parts.hostname or ""):
            return urllib3.ProxyManager(proxy, maxsize=16)
        return urllib3.PoolManager(maxsize=16)


class _WorthAnotherTry(Exception):
    """What went wrong, and how long the server asks to be left alone, seconds."""

    def __init__(self, failure: ModelFailed, after: float = 0.0) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.after = after


class _Call:
    """A function in a thread of its own, so that its caller can stop waiting: no socket option bounds a whole answer.

    The thread ends by itself: each read in it has a time limit.
    """

    def __init__(self, function: Any, arguments: tuple[Any, ...]) -> None:
        self._value: list[Any] = []
        self._error: BaseException | None = None
        self._done = threading.Event()

        def run() -> None:
            try:
                self._value = [function(*arguments)]
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                self._error = error
            finally:
                self._done.set()

        threading.Thread(target=run, name="reformulation", daemon=True).start()

    def result(self, deadline: float) -> list[Any]:
        """[what it returned], or [] where the deadline came first. Raises what it raised."""
        self._done.wait(max(0.0, deadline - time.monotonic()))
        if self._error is not None:
            raise self._error
        return self._value


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
