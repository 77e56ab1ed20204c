"""The layers around a service: each refuses what it should, names why, and lets the rest through unchanged."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from werkzeug.test import Client

from dar_search.errors import RequestError, SettingsError
from dar_search.serving import wsgi
from dar_search.serving.bodies import check_json
from dar_search.serving.keys import KeyRing, hashed
from dar_search.serving.metrics import Metrics
from dar_search.serving.rate_limits import TokenBuckets
from dar_search.serving.request_ids import current_request_id, request_id_from
from dar_search.serving.runner import metrics_app
from dar_search.settings.service import QuerySettings, ServiceSettings
from tests.guarded_app import KEY, client, problem


class TestRequestIds:
    def test_a_plain_id_of_the_caller_is_kept_and_answered(self) -> None:
        response = client().get("/", headers={"X-Request-Id": "trace-1:2.3"})
        assert response.headers["X-Request-Id"] == "trace-1:2.3" == response.get_json()["request_id"]

    @pytest.mark.parametrize("bad", ["", "a b", "x" * 65, "\u00e9", "-a", 'a"b', "a\nb"])
    def test_another_is_replaced(self, bad: str) -> None:
        assert request_id_from(bad) != bad
        assert len(request_id_from(bad)) == 32

    def test_it_ends_with_the_request(self) -> None:
        client().get("/")
        assert current_request_id() == ""


class TestKeys:
    service = ServiceSettings(keys={"team": SecretStr(KEY), "other": SecretStr(hashed("f" * 24))})

    def test_without_a_key_nothing_is_answered_but_health(self) -> None:
        asked = client(self.service)
        value = problem(asked.get("/_dar/v1/search"), 401, "unauthenticated")
        assert "X-DAR-Key" in value["hint"]
        assert asked.get("/_dar/health").status_code == asked.get("/_dar/ready").status_code == 200

    @pytest.mark.parametrize("key", [KEY, "f" * 24])
    def test_each_key_opens_given_itself_or_as_a_digest(self, key: str) -> None:
        assert client(self.service).get("/", headers={"X-DAR-Key": key}).status_code == 200

    @pytest.mark.parametrize("key", [KEY[:-1], KEY + "0", KEY.upper(), "", " ", hashed("f" * 24), "\u00ff" * 20])
    def test_nothing_near_a_key_opens(self, key: str) -> None:
        problem(client(self.service).get("/", headers={"X-DAR-Key": key}), 401, "unauthenticated")

    def test_the_app_never_sees_a_key_and_always_the_clusters_credentials(self) -> None:
        headers = {"X-DAR-Key": KEY, "Authorization": "Basic eDp5"}
        seen = client(self.service).get("/", headers=headers).get_json()["headers"]
        assert "HTTP_X_DAR_KEY" not in seen
        assert seen["HTTP_AUTHORIZATION"] == "Basic eDp5"

    def test_every_digest_is_compared_whatever_is_presented(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from dar_search.serving import keys

        compared: list[bytes] = []
        real = keys.hmac.compare_digest

        def counting(one: bytes, other: bytes) -> bool:
            compared.append(other)
            return real(one, other)

        monkeypatch.setattr(keys.hmac, "compare_digest", counting)
        ring = KeyRing({name: SecretStr(f"{name:0>20}") for name in "abc"})
        counts = []
        for presented in (f"{'a':0>20}", f"{'c':0>20}", "nobody's"):
            compared.clear()
            ring.owner(presented)
            counts.append(len(compared))
        assert counts == [3, 3, 3]

    def test_a_short_key_is_refused_at_the_start(self) -> None:
        with pytest.raises(SettingsError, match="fewer than 16"):
            KeyRing({"weak": SecretStr("hunter2")})


class TestRateLimits:
    def test_a_burst_then_the_rate_then_a_wait_that_is_told(self) -> None:
        now = [0.0]
        buckets = TokenBuckets(2.0, 3, clock=lambda: now[0])
        assert [buckets.take("a") for _ in range(3)] == [0.0, 0.0, 0.0]
        assert buckets.take("a") == pytest.approx(0.5)
        assert buckets.take("b") == 0.0
        now[0] = 0.5
        assert buckets.take("a") == 0.0
        now[0] = 100.0
        assert [buckets.take("a") > 0 for _ in range(4)] == [False, False, False, True]

    def test_callers_are_forgotten_the_silent_first(self) -> None:
        buckets = TokenBuckets(0.001, 1, callers=2, clock=lambda: 0.0)
        assert [buckets.take(name) > 0 for name in "abcb"] == [False, False, False, True]
        assert buckets.take("a") == 0.0  # forgotten, and new again

    @given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5))
    def test_never_more_than_burst_and_rate_allow(self, pauses: list[float], burst: int) -> None:
        now = [0.0]
        buckets = TokenBuckets(1.0, burst, clock=lambda: now[0])
        allowed = 0
        for pause in pauses:
            now[0] += pause
            allowed += buckets.take("a") == 0.0
        assert allowed <= burst + now[0] + 1e-6

    def test_refused_with_retry_after_and_health_is_free(self) -> None:
        asked = client(ServiceSettings(rate=0.1, burst=2))
        assert [asked.get("/").status_code for _ in range(2)] == [200, 200]
        response = asked.get("/")
        problem(response, 429, "rate_limited")
        assert 1 <= int(response.headers["Retry-After"]) <= 10
        assert {asked.get("/_dar/health").status_code for _ in range(5)} == {200}

    def test_by_key_each_key_has_its_own(self) -> None:
        asked = client(ServiceSettings(rate=0.1, burst=1, keys={"a": SecretStr(KEY), "b": SecretStr(KEY + "b")}))
        assert [asked.get("/", headers={"X-DAR-Key": key}).status_code for key in (KEY, KEY + "b", KEY)] == [
            200,
            200,
            429,
        ]

    @pytest.mark.parametrize(
        ("trusted", "forwarded", "address"),
        [
            (0, "9.9.9.9", "1.1.1.1"),
            (1, "9.9.9.9", "9.9.9.9"),
            (1, "6.6.6.6, 9.9.9.9", "9.9.9.9"),  # what stands left is what the caller says
            (2, "6.6.6.6, 9.9.9.9", "6.6.6.6"),
            (2, "9.9.9.9", "1.1.1.1"),
            (1, "nonsense", "1.1.1.1"),
            (1, "", "1.1.1.1"),
        ],
    )
    def test_an_address_is_believed_from_trusted_proxies(self, trusted: int, forwarded: str, address: str) -> None:
        environ = {"REMOTE_ADDR": "1.1.1.1", "HTTP_X_FORWARDED_FOR": forwarded}
        assert wsgi.client_address(environ, trusted) == address


class TestOrigins:
    service = ServiceSettings(cors_origins=("https://a.example",), keys={"team": SecretStr(KEY)})

    def test_a_preflight_needs_no_key(self) -> None:
        headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        response = client(self.service).options("/_dar/v1/search", headers=headers)
        assert response.status_code == 204
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "X-DAR-Key" in response.headers["Access-Control-Allow-Headers"]

    def test_another_origin_gets_no_leave(self) -> None:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        response = client(self.service).options("/_dar/v1/search", headers=headers)
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["Vary"] == "Origin"

    def test_a_page_sees_errors_too(self) -> None:
        response = client(self.service).get("/", headers={"Origin": "https://a.example"})
        problem(response, 401, "unauthenticated")
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"

    def test_without_the_setting_there_is_no_cors(self) -> None:
        response = client().get("/", headers={"Origin": "https://a.example"})
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8950", "[::2]:80"])
    def test_on_loopback_only_loopbacks_names_are_answered(self, host: str) -> None:
        problem(client().get("/", headers={"Host": host}), 421, "host_refused")

    @pytest.mark.parametrize("host", ["127.0.0.1:8950", "localhost", "LOCALHOST:1", "[::1]:8950"])
    def test_loopbacks_names(self, host: str) -> None:
        assert client().get("/", headers={"Host": host}).status_code == 200

    def test_elsewhere_all_names_are_answered_or_those_listed(self) -> None:
        anybody = client(host="0.0.0.0")
        assert anybody.get("/", headers={"Host": "dar.example"}).status_code == 200
        listed = client(ServiceSettings(allowed_hosts=("Dar.example",)), host="0.0.0.0")
        assert listed.get("/", headers={"Host": "dar.example:1"}).status_code == 200
        problem(listed.get("/", headers={"Host": "other.example"}), 421, "host_refused")

    def test_the_names_for_callers_lock_no_prometheus_out_of_the_admin_port(self) -> None:
        service = ServiceSettings(allowed_hosts=("dar.example",))
        statuses = {
            (listens, host): Client(metrics_app(Metrics(), service, listens))
            .get("/", headers={"Host": host})
            .status_code
            for listens in ("0.0.0.0", "127.0.0.1")
            for host in ("query:8951", "10.1.2.3:8951")
        }
        assert list(statuses.values()) == [200, 200, 421, 421], statuses


class TestPagesOfOtherSites:
    """A browser sends them with its reader's rights; W3C Fetch: Origin and Sec-Fetch-Site cannot be set by a page."""

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://other.example"},
            {"Origin": "null"},  # a sandboxed frame, a redirect
            {"Origin": "http://127.0.0.1:8950"},  # another port is another site
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_cannot_change_anything(self, method: str, headers: dict[str, str]) -> None:
        headers = {"Host": "127.0.0.1:8960", **headers}
        problem(client().open("/", method=method, headers=headers), 403, "cross_site")

    @pytest.mark.parametrize(
        "kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "Text/Plain"]
    )
    def test_cannot_send_a_form_even_where_the_browser_names_no_site(self, kind: str) -> None:
        assert (
            "X-Requested-With"
            in problem(client().post("/", data="x", content_type=kind), 415, "unsupported_media_type")["hint"]
        )
        named = {"X-Requested-With": "curl"}
        assert client().post("/", data="x", content_type=kind, headers=named).status_code == 200

    def test_a_key_is_such_a_header_too(self) -> None:
        asked = client(ServiceSettings(keys={"team": SecretStr(KEY)}))
        sent = {"data": "x", "content_type": "multipart/form-data; boundary=x"}
        assert asked.post("/", headers={"X-DAR-Key": KEY}, **sent).status_code == 200

    @pytest.mark.parametrize(
        "headers",
        [{"Origin": "http://127.0.0.1:8960"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}],
    )
    def test_the_services_own_page_and_programs_may_ask(self, headers: dict[str, str]) -> None:
        assert client().post("/", headers={"Host": "127.0.0.1:8960", **headers}).status_code == 200

    def test_a_page_that_the_operator_named_may_too(self) -> None:
        asked = client(ServiceSettings(cors_origins=("https://a.example",)))
        headers = {"Origin": "https://a.example", "Sec-Fetch-Site": "cross-site"}
        assert asked.post("/", headers=headers).status_code == 200

    def test_reading_is_the_browsers_own_affair(self) -> None:
        assert client().get("/", headers={"Origin": "https://other.example"}).status_code == 200


class TestBodies:
    def test_too_large_is_refused_before_it_is_read(self) -> None:
        class Unread(io.BytesIO):
            def read(self, *_: Any) -> bytes:
                raise AssertionError("it was read")

        response = client().post("/", input_stream=Unread(b"x"), environ_overrides={"CONTENT_LENGTH": "2001"})
        problem(response, 413, "body_too_large")

    @pytest.mark.parametrize("kind", ["application/json", "application/octet-stream"])
    def test_of_unknown_length_it_is_read_only_up_to_the_limit(self, kind: str) -> None:
        environ = {"wsgi.input_terminated": True}
        stream = io.BytesIO(b"1" * 5_000)
        response = client().post("/", input_stream=stream, content_type=kind, environ_overrides=environ)
        problem(response, 413, "body_too_large")
        assert stream.tell() <= 5_000

    def test_what_fits_arrives_whole(self) -> None:
        text = json.dumps({"text": "x" * 1_900})
        assert client().post("/", data=text, content_type="application/json").get_json()["body"] == text

    @pytest.mark.parametrize("kind", ["application/vnd.a+json", "Application/a+b+JSON ; x=y", "application/a!b+json"])
    def test_json_by_any_name_is_limited(self, kind: str) -> None:
        problem(client().post("/", data="[" * 900, content_type=kind), 400, "bad_request")

    def test_json_which_costs_more_to_read_may_have_a_limit_of_its_own(self) -> None:
        asked = client(json_bytes=1_000)
        refused = problem(asked.post("/", data=b"1" * 1_001, content_type="application/json"), 413, "body_too_large")
        assert "1,000 bytes" in refused["message"]
        assert "body_megabytes" not in refused["hint"]  # which does not raise it
        assert asked.post("/", data=b"1" * 1_000, content_type="application/json").status_code == 200
        assert asked.post("/", data=b"1" * 1_001, content_type="application/octet-stream").status_code == 200

    def test_json_that_no_route_asks_for_is_never_read(self) -> None:
        def indifferent(environ: wsgi.Environ, start_response: wsgi.StartResponse) -> list[bytes]:
            return wsgi.answer_json(start_response, 200, {})

        stream = io.BytesIO(b"[" * 1_000)
        response = client(app=indifferent).post("/_dar/health", input_stream=stream, content_type="application/json")
        assert (response.status_code, stream.tell()) == (200, 0)

    @pytest.mark.parametrize(
        "body", ["[" + "1," * 1_500 + "1]", "[" + "{}," * 1_100 + "{}]", '""' * 2_500, '{"a":"b"' + ',"a":"b"' * 1_100]
    )
    def test_json_of_too_many_values_is_refused(self, body: str) -> None:
        asked = client(ServiceSettings(json_values=1_000), max_bytes=100_000)
        assert (
            "1,000 values"
            in problem(asked.post("/", data=body, content_type="application/json"), 400, "bad_request")["message"]
        )

    @given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_as_many_values_as_there_are_pass(self, value: Any) -> None:
        def values(part: Any) -> int:
            inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
            return 1 + sum(values(one) for one in inner) + (part in ({}, []))

        check_json(json.dumps(value).encode(), depth=99, values=values(value))

    def test_a_long_string_takes_no_memory_beside_itself(self) -> None:
        code = """
import resource, sys
from dar_search.serving.bodies import check_json
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for body in (b'"' + b"a" * (16 << 20), b'"' + b"\\\\a" * (5 << 20)):
    check_json(body, depth=64, values=1_000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert int(done.stdout) < 100  # MB; with a pattern that keeps a way back for every character: 1,900

    @pytest.mark.parametrize("body", ["[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, "[" * 900])
    def test_deep_json_is_refused(self, body: str) -> None:
        problem(client().post("/", data=body, content_type="application/json"), 400, "bad_request")

    def test_brackets_in_strings_do_not_count(self) -> None:
        text = json.dumps(["[" * 500 + '\\"' + "{" * 500])
        assert client().post("/", data=text, content_type="application/json; charset=utf-8").status_code == 200

    @given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
    def test_the_depth_is_that_of_the_value(self, value: Any) -> None:
        def depth(part: Any) -> int:
            if isinstance(part, dict | list):
                return 1 + max((depth(one) for one in (part.values() if isinstance(part, dict) else part)), default=0)
            return 0

        body = json.dumps(value).encode()
        check_json(body, depth=depth(value), values=1_000)
        if depth(value):
            with pytest.raises(RequestError):
                check_json(body, depth=depth(value) - 1, values=1_000)


class TestSettings:
    def test_busy_threads_leave_one_for_health(self) -> None:
        QuerySettings().check()
        with pytest.raises(SettingsError, match="not below query"):
            QuerySettings(threads=8, searches=4, waiting=2, streams=2).check()

    def test_every_setting_of_a_limit_is_within_one(self) -> None:
        with pytest.raises(SettingsError, match="most_deadline_ms"):
            QuerySettings(deadline_ms=500, most_deadline_ms=400).check()
