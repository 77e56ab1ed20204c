"""A Reformulator behind any OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp, or a hosted one."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import tenacity
import urllib3

from dar_search.data import Dialogue, Reformulation
from dar_search.errors import ModelFailed, ModelTimeout
from dar_search.ingestion.fetching.politeness import retry_after
from dar_search.models.reformulators import endpoint_manners, instructions
from dar_search.models.reformulators.chat_completions import Completion, Refusal, completion_in, refusal_in, shown
from dar_search.models.reformulators.endpoint_options import EndpointOptions as EndpointOptions
from dar_search.settings.proxies import ASKED_THROUGH, pool_for, proxy_for

_TRY_AGAIN = frozenset({408, 409, 425, 429})
_HINTS = {
    401: "Check the endpoint's API key.",
    402: "Check what the account behind the API key may spend.",
    403: "Check the endpoint's API key and what it may use.",
    407: ASKED_THROUGH,
}
#: Said with status 429, and no wait mends it.
_NO_MORE = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_LARGEST_ANSWER = 256 * 1024
_LOG = logging.getLogger(__name__)
Answer = TypeVar("Answer")


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
        proxy_for(options.url)  # one that cannot be asked is said now
        self._refused = frozenset[str]() if options.structured else frozenset({"response_format"})

    @property
    def name(self) -> str:
        return f"endpoint:{self._options.model}"

    @property
    def key(self) -> str:
        """See `ports.KeyedReformulator`. What the endpoint itself changes under the same model's name is not in it."""
        asked = self._options
        shaping = (asked.url, asked.model, asked.prompts, asked.most_tokens, asked.structured, dict(asked.extra))
        return f"endpoint {shaping} {instructions.identity()}"

    def reformulate(self, dialogue: Dialogue) -> Reformulation:
        """Asks, and asks again where that may help, for `seconds` at most, whatever the server does meanwhile."""
        prompts = self._options.prompts
        return self._asked(
            _Question(
                instructions.messages(dialogue, prompts),
                instructions.SCHEMA,
                self._options.limit,
                lambda text: instructions.read(text, reformulator=self.name, prompts=prompts),
            )
        )

    def answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See `ports.ChatModel`: one JSON object with a "text", in the same time and with the same tries."""
        return self._asked(_Question(messages, instructions.TEXT_SCHEMA, self._options.limit, str))

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
        def worth_it(error: BaseException) -> bool:
            # A wait beyond the deadline would only delay the error.
            return isinstance(error, _WorthAnotherTry) and time.monotonic() + error.after < deadline

        usual_wait = tenacity.wait_exponential(multiplier=0.25, max=4.0) + tenacity.wait_random(0, 0.25)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            return error.after if isinstance(error, _WorthAnotherTry) and error.after else usual_wait(state)

        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception(worth_it),
            stop=tenacity.stop_after_attempt(self._options.tries),
            wait=wait,
            reraise=True,
        )
        try:
            answer: Answer = tries(self._ask, question, deadline)
        except _WorthAnotherTry as last:
            raise last.failure from last
        return answer

    def _ask(self, question: _Question[Answer], deadline: float) -> Answer:
        """One try. Raises _WorthAnotherTry, or ModelFailed for what asking again cannot mend."""
        completion = self._completion(question, deadline)
        text = completion.text
        used, most = completion.tokens, question.most_tokens
        if (completion.cut or (used or 0) >= most) and instructions.object_in(text) is None:
            raise self._cut(most if used is None else used, most)
        if completion.problem:
            raise ModelFailed(f"{self.name} {self._shown(completion.problem, question)}.")
        try:
            return question.read(text)
        except ModelFailed as error:
            raise _WorthAnotherTry(error) from error

    def _cut(self, used: int, most: int) -> ModelFailed:
        if used >= most:
            return ModelFailed(
                f"{self.name} used all its {most} tokens before its answer was complete.",
                "Raise most_tokens in its options, or switch its thinking off by extra.",
            )
        return ModelFailed(
            f"{self.name} ended after {used} of {most} tokens, before its answer was complete: its context is full.",
            "Raise the server's context length (Ollama: num_ctx), or switch its thinking off by extra.",
        )

    def _completion(self, question: _Question[Any], deadline: float) -> Completion:
        """What the endpoint answers in a manner that it takes, which is remembered."""
        options, refused = self._options, self._refused
        while True:
            body = endpoint_manners.request(options, question.messages, question.schema, question.most_tokens, refused)
            status, after, found = self._post(body, deadline)
            if isinstance(found, Completion):
                # Only what worked, since a refusal may have another cause; beside what other threads learned meanwhile.
                self._refused |= refused
                return found
            part = endpoint_manners.to_leave_out(found, body, options.extra, status)
            if not part:
                raise self._failed(status, after, found, question)
            _LOG.info("%s is asked again without %s: %s", self.name, part, self._shown(found.words, question))
            refused |= {part}

    def _post(self, body: Mapping[str, Any], deadline: float) -> tuple[int, float, Completion | Refusal]:
        """(status, seconds to wait before the next try, the answer). Raises _WorthAnotherTry, ModelFailed."""
        if time.monotonic() > deadline:
            raise ModelTimeout(f"{self.name} answers too slowly.", "Raise the limit, or use a faster model.")
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if key := self._key:
            bearer = self._options.key_header.lower() == "authorization"
            headers[self._options.key_header] = f"Bearer {key}" if bearer else key
        try:
            response = self._pool.request(
                "POST",
                self._options.address,
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
                content = self._content(response, deadline)
            finally:
                response.close()
        except urllib3.exceptions.HTTPError as error:
            by_proxy = isinstance(error, urllib3.exceptions.ProxyError)
            hint = ASKED_THROUGH if by_proxy else "Is it running, and the URL right?"
            # "HTTPConnection(host='localhost', port=11434): Failed to establish ...: [Errno 111] Connection refused"
            reason = shown(str(error).rpartition(": ")[2].strip("'()."), [self._key])
            failure = ModelFailed(f"{self.name} cannot be reached ({type(error).__name__}: {reason}).", hint)
            raise _WorthAnotherTry(failure) from error
        after = retry_after(response.headers.get("Retry-After")) or 0.0
        if response.status != 200:
            return response.status, after, refusal_in(content)
        answer = completion_in(content)
        if answer is None:
            failure = ModelFailed(f"{self.name} answered with something that is no chat completion.")
            raise _WorthAnotherTry(failure)
        # Some gateways send another server's refusal with status 200, and its own status inside.
        return (answer.status or 400) if isinstance(answer, Refusal) else 200, after, answer

    def _content(self, response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
        # A token is seldom more than this many bytes of JSON, in any script; whoever allows more of them gets more.
        most = max(_LARGEST_ANSWER, 32 * self._options.limit)
        content = bytearray()
        while part := response.read1(65536):
            content += part
            if len(content) > most:
                raise ModelFailed(f"{self.name} answered with more than {most // 1024} KiB.")
            if time.monotonic() > deadline:
                raise ModelTimeout(f"{self.name} answers too slowly.")
        return bytes(content)

    def _failed(self, status: int, after: float, refusal: Refusal, question: _Question[Any]) -> Exception:
        words = self._shown(refusal.words, question).rstrip(". ")
        hint = _HINTS.get(status, "Check the endpoint's URL and its model's name." if status < 429 else "")
        failure = ModelFailed(f"{self.name} answered with HTTP status {status}{words and f': {words}'}.", hint)
        passing = status in _TRY_AGAIN or (status >= 500 and status != 501)
        return _WorthAnotherTry(failure, after) if passing and not refusal.codes & _NO_MORE else failure

    def _shown(self, words: str, question: _Question[Any]) -> str:
        return shown(words, [self._key], [message["content"] for message in question.messages])

    @property
    def _key(self) -> str:
        return self._options.key.get_secret_value() if self._options.key else ""

    @cached_property
    def _pool(self) -> urllib3.PoolManager:
        return pool_for(self._options.url)


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
