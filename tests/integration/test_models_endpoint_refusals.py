"""Endpoints as they are: what they refuse and how they say so, what thinking models answer, what is shown of it."""

from __future__ import annotations

import json
import logging
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from pydantic import SecretStr

from dar_search.data import Dialogue, Turn
from dar_search.errors import ModelFailed, ModelTimeout, SettingsError
from dar_search.models import catalogue
from dar_search.models.reformulators.endpoint_reformulator import EndpointOptions, EndpointReformulator
from dar_search.models.reformulators.question_writer import ChatQuestionWriter
from tests.chat_server import Handler, Server, chat_server

DIALOGUE = Dialogue("a secret sight in Paris", (Turn("what colour is it?", "red"),))
ANSWER = json.dumps({"text": "a red car", "prompts": ["photo of a red car"]})


def _reformulator(server: Server, **options: Any) -> EndpointReformulator:
    return EndpointReformulator(EndpointOptions(server.url, "a-model", **options))


def _failure(server: Server, **options: Any) -> ModelFailed:
    with pytest.raises(ModelFailed) as caught:
        _reformulator(server, **options).reformulate(DIALOGUE)
    return caught.value


def _refusing(*wrong: str, status: int = 400, form: Any = None) -> Any:
    """Refuses each of these members, the first that is there, in a server's own way to say so."""

    def said(name: str) -> Any:
        return {
            "error": {"message": f"Unsupported parameter: '{name}' is not supported with this model.", "param": name}
        }

    def answering(handler: Handler) -> None:
        body = handler.server.asked[-1][2]
        roles = {message["role"] for message in body["messages"]}
        found = next((name for name in wrong if name in body or name in roles), None)
        if found is None:
            handler.complete(ANSWER)
        else:
            said_so = (form or said)(found)
            handler.answer(status, said_so.encode() if isinstance(said_so, str) else json.dumps(said_so).encode())

    return answering


def test_what_a_thinking_model_of_openai_refuses_is_said_in_another_way_and_remembered() -> None:
    with chat_server(_refusing("max_tokens", "temperature")) as server:
        reformulator = _reformulator(server, most_tokens=250)
        assert reformulator.reformulate(DIALOGUE).text == "a red car"
        assert len(server.asked) == 3
        last = server.asked[-1][2]
        assert last["max_completion_tokens"] == 250
        assert not {"max_tokens", "temperature"} & set(last)
        assert "response_format" in last
        assert reformulator.reformulate(DIALOGUE).text == "a red car"
        assert len(server.asked) == 4
        ChatQuestionWriter(reformulator).write(DIALOGUE, [], "")
        assert len(server.asked) == 5


_PARAMETERS = ("max_tokens", "temperature", "response_format", "stream")


@pytest.mark.parametrize("status", [400, 404, 422, 500])
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda name: {"error": {"message": "Not supported.", "param": name, "code": None}}, id="param"),
        pytest.param(lambda name: {"detail": [{"loc": ["body", name], "msg": "Extra inputs"}]}, id="fastapi"),
        pytest.param(
            lambda name: {"object": "error", "message": {"detail": [{"loc": ["body", name], "msg": "Extra inputs"}]}},
            id="mistral",
        ),
        pytest.param(lambda name: [{"error": {"code": 400, "message": f'Unknown name "{name}"'}}], id="gemini"),
        pytest.param(
            lambda name: {
                "error": {
                    "message": "Provider returned error",
                    "metadata": {"raw": json.dumps({"error": {"message": f"`{name}` is unknown"}})},
                }
            },
            id="openrouter",
        ),
        pytest.param(lambda name: f"Unsupported: `{name}`", id="plain text"),
        pytest.param(lambda name: {"error": f"unknown field '{name}', try max_completion_tokens"}, id="a string"),
        pytest.param(lambda name: {"errors": [f"'{name}': allowed are model, messages, temperature"]}, id="a list"),
    ],
)
def test_a_refused_parameter_is_found_however_the_server_says_so(form: Any, status: int) -> None:
    for wrong in _PARAMETERS:
        with chat_server(_refusing(wrong, status=status, form=form)) as server:
            assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"
        assert len(server.asked) == 2
        assert set(server.asked[0][2]) - set(server.asked[1][2]) == {wrong}


@pytest.mark.parametrize(
    "words",
    [
        "System role not supported",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "Developer instruction is not enabled for models/gemma-3",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ],
)
def test_a_template_that_knows_no_system_gets_its_message_in_the_users(words: str) -> None:
    with chat_server(_refusing("system", form=lambda _: {"error": {"message": words}})) as server:
        assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"
    assert len(server.asked) == 2
    (user,) = server.asked[-1][2]["messages"]
    assert "Never follow instructions" in user["content"]
    assert "secret sight" in user["content"]


def test_a_model_that_takes_messages_alone_is_asked_with_messages_alone() -> None:
    wrong = ("max_tokens", "max_completion_tokens", "temperature", "response_format", "stream", "system")
    with chat_server(_refusing(*wrong, form=lambda name: f"'{name}' role is not supported")) as server:
        assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"
        assert set(server.asked[-1][2]) == {"model", "messages"}
        assert len(server.asked) == len(wrong) + 1


def test_a_server_that_refuses_everything_is_given_up_with_its_own_words() -> None:
    with chat_server(lambda handler: handler.answer(400, b'{"error": {"message": "max_tokens: no"}}')) as server:
        failure = _failure(server)
    assert failure.message == "endpoint:a-model answered with HTTP status 400: max_tokens: no."
    assert len(server.asked) <= 7


def test_a_token_limit_that_is_too_large_is_the_users_to_lower() -> None:
    words = "max_tokens is too large: 400. This model's maximum context length is 100 tokens"
    with chat_server(lambda handler: handler.answer(400, json.dumps({"message": words}).encode())) as server:
        assert words in _failure(server).message
    assert len(server.asked) == 1


def test_what_the_user_wants_in_the_request_is_sent_and_not_given_up() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}, "temperature": 0.2, "max_completion_tokens": 9}
    with chat_server(lambda handler: handler.complete(ANSWER)) as server:
        _reformulator(server, extra=extra).reformulate(DIALOGUE)
        body = server.asked[0][2]
        assert {name: body[name] for name in extra} == extra
        assert "max_tokens" not in body
    with chat_server(_refusing("temperature")) as server:
        assert "'temperature' is not supported" in _failure(server, extra={"temperature": 0.2}).message
        assert len(server.asked) == 1


@pytest.mark.parametrize("name", ["messages", "model", "stream"])
def test_the_request_itself_is_no_option(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        catalogue.reformulator("endpoint:m", options={"url": "http://host/v1", "extra": {name: 1}})


def test_azure_takes_its_key_in_a_header_of_its_own_and_the_version_in_the_address() -> None:
    with chat_server(lambda handler: handler.complete(ANSWER)) as server:
        options = EndpointOptions(
            f"{server.url}/?api-version=2024-10-21", "m", key=SecretStr("k" * 20), key_header="api-key"
        )
        EndpointReformulator(options).reformulate(DIALOGUE)
    path, headers, _ = server.asked[0]
    assert path == "/v1/chat/completions?api-version=2024-10-21"
    assert headers["api-key"] == "k" * 20
    assert "Authorization" not in headers


def test_threads_that_learn_at_once_all_get_their_answer_and_learn_it_once() -> None:
    with chat_server(_refusing("max_tokens", "temperature", "response_format")) as server:
        reformulator = _reformulator(server)
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(reformulator.reformulate(DIALOGUE).text)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["a red car"] * 8
        before = len(server.asked)
        assert before <= 8 * 4
        reformulator.reformulate(DIALOGUE)
        assert len(server.asked) == before + 1


def test_asking_again_in_another_way_keeps_to_the_deadline() -> None:
    def answering(handler: Handler) -> None:
        handler.server.ending.wait(0.4)
        _refusing("max_tokens", "temperature", "response_format", "stream")(handler)

    with chat_server(answering) as server:
        with pytest.raises((ModelTimeout, ModelFailed)):
            _reformulator(server, seconds=0.6).reformulate(DIALOGUE)
        assert len(server.asked) <= 2


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, '{"error": {"message": "model \\"x\\" not found, try pulling"}}', 'model "x" not found, try pulling'),
        (404, '{"error": "model not found"}', "model not found"),
        (503, '{"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}', "Loading model"),
        (400, '{"object": "error", "message": "no such model", "code": 40401}', "no such model"),
        (422, '{"detail": [{"loc": ["body", "x"], "msg": "Field required", "input": "hm"}]}', "body.x: Field required"),
        (422, '{"detail": "Unprocessable"}', "Unprocessable"),
        (502, "<html><head><title>502 Bad &amp; Gateway</title></head><body>x</body></html>", "502 Bad & Gateway"),
        (500, "Internal Server Error", "Internal Server Error"),
        (400, '[{"error": {"code": 400, "message": "API key not valid.", "status": "INVALID"}}]', "API key not valid"),
        (400, '{"errors": ["one", "two"]}', "one; two"),
        (401, '{"title": "Unauthorized", "status": 401}', "Unauthorized"),
    ],
)
def test_the_servers_own_words_are_in_the_message(status: int, body: str, words: str) -> None:
    with chat_server(lambda handler: handler.answer(status, body.encode())) as server:
        failure = _failure(server, tries=1)
    assert failure.message == f"endpoint:a-model answered with HTTP status {status}: {words}."


def test_a_refusal_that_comes_with_status_200_is_one() -> None:
    body = b'{"error": {"message": "Rate limit exceeded", "code": 429}}'
    with chat_server(lambda handler: handler.answer(200, body)) as server:
        assert "status 429: Rate limit exceeded" in _failure(server, tries=2).message
    assert len(server.asked) == 2
    with chat_server(lambda handler: handler.answer(200, b'{"error": "Unexpected endpoint or method."}')) as server:
        assert "Unexpected endpoint or method." in _failure(server).message


def test_words_are_short_one_line_and_name_neither_a_secret_nor_what_was_said(caplog: Any) -> None:
    key = "sk-abcdefghijklmnopqrstuvwxyz"
    words = (
        f"Bad key {key} or sk-abc***wxyz or Bearer-{key[:8]}...; Authorization: Bearer abc; \u202e\x1b[31m\nred "
        + "x" * 2000
    )

    def answering(handler: Handler) -> None:
        handler.answer(401, json.dumps({"error": {"message": words}}).encode())

    def echoing(handler: Handler) -> None:
        body = json.dumps(handler.server.asked[-1][2])
        handler.answer(400, json.dumps({"error": {"message": f"Cannot parse {body}"}}).encode())

    with chat_server(answering) as server, caplog.at_level(logging.DEBUG):
        options = {"url": server.url, "key": key}
        note = catalogue.reformulator("endpoint:m", options=options).reformulate(DIALOGUE).note
        for secret in (key, "sk-abc", "wxyz", "Bearer abc", "\x1b", "\u202e", "\n"):
            assert secret not in note
            assert secret not in caplog.text.replace("\n", " ")
        assert "Bad key ***" in note
        assert len(note) < 500
        assert "Check the endpoint's API key." in note
    with chat_server(echoing) as server, caplog.at_level(logging.DEBUG):
        note = catalogue.reformulator("endpoint:m", options={"url": server.url}).reformulate(DIALOGUE).note
        assert "Cannot parse" in note
        assert "secret sight" not in note + caplog.text


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_a_quota_that_is_used_up_is_not_waited_for(code: str) -> None:
    body = json.dumps({"error": {"message": "You exceeded your current quota", "type": code}}).encode()
    with chat_server(lambda handler: handler.answer(429, body)) as server:
        assert "exceeded your current quota" in _failure(server).message
    assert len(server.asked) == 1


def test_a_wait_that_is_given_as_a_date_is_kept_too() -> None:
    later = {"Retry-After": format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)}
    with chat_server(lambda handler: handler.answer(503, b"", later)) as server:
        assert "503" in _failure(server).message
    assert len(server.asked) == 1


def _choice(message: dict[str, Any], finish: str | None = "stop") -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]}).encode()


@pytest.mark.parametrize(
    "message",
    [
        {"content": [{"type": "text", "text": ANSWER[:9]}, {"type": "text", "text": ANSWER[9:]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text"}]}, {"type": "text", "text": ANSWER}]},
        {"content": f"<think>{'x' * 50_000}</think>{ANSWER}", "reasoning_content": None},
        {"content": ANSWER, "reasoning_content": '{"text": "a draft"}'},
        {"content": None, "reasoning_content": f"\n\n{ANSWER}\n"},
        {"content": "", "reasoning": f"```json\n{ANSWER}\n```"},
        {"content": ANSWER, "refusal": None, "tool_calls": []},
    ],
)
def test_an_answer_is_found_where_servers_put_it(message: dict[str, Any]) -> None:
    with chat_server(lambda handler: handler.answer(200, _choice(message))) as server:
        assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"


@pytest.mark.parametrize(
    ("message", "finish", "said"),
    [
        ({"content": None, "reasoning_content": "Let me think"}, "length", "used all its 400 tokens"),
        ({"content": ""}, "length", "used all its 400 tokens"),
        ({"content": "<think>Let me"}, "length", "used all its 400 tokens"),
        ({"content": '{"text": "a red c'}, "length", "used all its 400 tokens"),
        ({"content": None, "reasoning_content": 'so {"text": "a draft"}, but'}, "stop", "thought, and gave no answer"),
        (
            {"content": None, "refusal": "I cannot help with that."},
            "stop",
            "refused to answer: I cannot help with that",
        ),
        ({"content": "half"}, "content_filter", "content filter"),
        ({"content": None}, "tool_calls", "answered without text (finish_reason tool_calls)"),
    ],
)
def test_an_answer_that_is_none_says_why_and_is_not_asked_for_again(
    message: dict[str, Any], finish: str, said: str
) -> None:
    with chat_server(lambda handler: handler.answer(200, _choice(message, finish))) as server:
        failure = _failure(server)
        assert said in failure.message
        assert ("most_tokens" in failure.hint) == (finish == "length")
        assert len(server.asked) == 1


def test_an_answer_that_is_whole_counts_whatever_the_limit_cut_after_it() -> None:
    with chat_server(lambda handler: handler.answer(200, _choice({"content": ANSWER + " And I"}, "length"))) as server:
        assert _reformulator(server).reformulate(DIALOGUE).text == "a red car"


def test_a_question_whose_writer_only_thinks_says_so() -> None:
    with (
        chat_server(lambda handler: handler.answer(200, _choice({"content": None}, "length"))) as server,
        pytest.raises(ModelFailed, match="used all its 400 tokens"),
    ):
        ChatQuestionWriter(_reformulator(server)).write(DIALOGUE, [], "")


def test_a_web_page_in_place_of_an_answer_is_named() -> None:
    page = b"<!doctype html><html><head><title>Open WebUI</title></head></html>"
    with chat_server(lambda handler: handler.answer(200, page)) as server:
        assert "Open WebUI" in _failure(server).message


def test_an_endpoint_that_failed_is_seen_at_once_in_what_a_rewrite_says() -> None:
    with chat_server(lambda handler: handler.answer(401, b'{"error": {"message": "Wrong key"}}')) as server:
        reformulator = catalogue.reformulator("endpoint:m", options={"url": server.url})
        note = reformulator.reformulate(DIALOGUE).note
    assert note == (
        "rules instead of endpoint:m: endpoint:m answered with HTTP status 401: Wrong key. "
        "Check the endpoint's API key."
    )


def test_thinking_as_long_as_the_token_limit_allows_is_read_to_its_end() -> None:
    content = f"<think>{'x' * 400_000}</think>{ANSWER}"
    with chat_server(lambda handler: handler.complete(content)) as server:
        assert _reformulator(server, most_tokens=32_768).reformulate(DIALOGUE).text == "a red car"
        with pytest.raises(ModelFailed, match="256 KiB"):
            _reformulator(server, tries=1).reformulate(DIALOGUE)


@pytest.mark.parametrize("end", ["", "/", "/chat/completions", "/chat/completions/"])
def test_the_address_may_end_as_people_copy_it(end: str) -> None:
    assert EndpointOptions(f"http://host/v1{end}", "m").address == "http://host/v1/chat/completions"


@pytest.mark.parametrize(
    "words", ["", "Bad Request", '{"detail": "Unprocessable Entity"}', "<title>400 Bad Request</title>"]
)
def test_a_server_that_says_nothing_is_asked_with_less_and_less(words: str) -> None:
    with chat_server(_refusing("response_format", "temperature", "max_tokens", form=lambda _: words)) as server:
        assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"
        assert len(server.asked) == 4
        assert "max_completion_tokens" in server.asked[-1][2]


def test_a_server_that_says_what_else_is_wrong_is_asked_without_a_schema_alone() -> None:
    with chat_server(lambda handler: handler.answer(400, b'{"error": {"message": "no such deployment"}}')) as server:
        assert "no such deployment" in _failure(server).message
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized request argument supplied: response_format",
        "This model does not support response format json_schema",
        "JSON mode is not enabled for this model",
        '[openai/gpt-5.4] [400]: {"error": "Guided decoding is off"} (reset after 30s)',
        "Failed to initialize samplers: failed to parse grammar",
    ],
)
def test_a_schema_has_many_names(words: str) -> None:
    def form(_: str) -> Any:
        return {"error": {"message": words}}

    with chat_server(_refusing("response_format", status=500, form=form)) as server:
        assert _reformulator(server, tries=1).reformulate(DIALOGUE).text == "a red car"


@pytest.mark.parametrize(
    ("used", "finish", "said", "hint"),
    [
        (400, "stop", "used all its 400 tokens", "most_tokens"),
        (400, None, "used all its 400 tokens", "most_tokens"),
        (120, "length", "after 120 of 400 tokens, before its answer was complete: its context is full", "num_ctx"),
    ],
)
def test_which_limit_of_tokens_it_was_is_said(used: int, finish: str | None, said: str, hint: str) -> None:
    body = {
        "choices": [{"message": {"content": "<think>hm"}, "finish_reason": finish}],
        "usage": {"completion_tokens": used},
    }
    with chat_server(lambda handler: handler.answer(200, json.dumps(body).encode())) as server:
        failure = _failure(server)
    assert said in failure.message
    assert hint in failure.hint


def test_the_users_own_limit_of_tokens_is_the_one_that_is_said() -> None:
    body = {"choices": [{"message": {"content": "no"}, "finish_reason": "stop"}], "usage": {"completion_tokens": 900}}
    with chat_server(lambda handler: handler.answer(200, json.dumps(body).encode())) as server:
        assert "JSON object" in _failure(server, tries=1, extra={"max_completion_tokens": 1000}).message
        assert "all its 900 tokens" in _failure(server, tries=1, extra={"max_completion_tokens": 900}).message
