"""Addresses, credentials, certificates' files and profiles: what is taken, and how the rest is refused."""

import sys
from pathlib import Path
from typing import Any

import pytest

from dar_search.errors import FeatureMissing, SettingsError
from dar_search.settings import Settings, load_settings, secret
from dar_search.settings.cluster_access import Profile, read_profile
from dar_search.stores.opensearch.cluster.connection import Host, connect, parse_hosts


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in (
        "OPENSEARCH_URL",
        "OPENSEARCH_USERNAME",
        "OPENSEARCH_PASSWORD",
        "DAR_CONFIG",
        "DAR_STORE",
        "DAR_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)


def settings(**access: Any) -> Settings:
    return load_settings(opensearch=access)


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("http://localhost", Host("localhost", 9200, False, "")),
        ("https://search.example.org", Host("search.example.org", 443, True, "")),
        ("https://search.example.org:9200/a/b/", Host("search.example.org", 9200, True, "/a/b")),
        ("http://[::1]:9201", Host("::1", 9201, False, "")),
    ],
)
def test_an_address_is_a_host(address: str, host: Host) -> None:
    assert parse_hosts([address]) == ((host,), None)


def test_a_user_in_the_address_is_decoded() -> None:
    assert parse_hosts(["https://a%40b:p%2Fw@h"])[1] == ("a@b", "p/w")
    assert parse_hosts(["https://u:p@a", "https://b"])[1] == ("u", "p")
    with pytest.raises(SettingsError, match="same user"):
        parse_hosts(["https://u:p@a", "https://v:q@b"])


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "http://h?q=1",
        "http://h#f",
        "ftp://h",
        "h:9200",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(address: str) -> None:
    for text in (address, address.replace("://", "://user:hush@")):
        with pytest.raises(SettingsError) as caught:
            connect(text, settings())
        assert "hush" not in str(caught.value)


def test_an_empty_list_of_hosts_is_refused() -> None:
    with pytest.raises(SettingsError):
        connect(" , ", settings())


@pytest.mark.parametrize(
    ("access", "named"),
    [
        ({"username": "a"}, "password"),
        ({"password": "a"}, "username"),
        ({"username": "a", "password": "b", "api_key": "c"}, "api_key"),
        ({"bearer_token": "a", "aws_region": "eu-west-1"}, "aws_region"),
        ({"client_key": "k.pem"}, "client_certificate"),
        ({"bearer_token": "two\nlines"}, "token"),
        ({"api_key": "naïve"}, "key"),
    ],
)
def test_credentials_that_do_not_fit_together_are_refused(access: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        connect("https://localhost", settings(**access))


@pytest.mark.parametrize("name", ["ca_file", "client_certificate"])
def test_a_certificate_s_file_that_is_missing_or_no_certificate_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{name} names .*no file"):
        connect("https://localhost", settings(**{name: str(tmp_path / "none.pem")}))
    (tmp_path / "odd.pem").write_text("this is no certificate")
    with pytest.raises(SettingsError, match=r"odd\.pem"):
        connect("https://localhost", settings(**{name: str(tmp_path / "odd.pem")}))


def test_several_hosts_are_tried_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    client = connect("http://a:1, http://b:2,http://c:3", settings(pool_size=7, timeout=3))
    assert client.transport.max_retries == 2
    assert {connection.host for connection in client.transport.connection_pool.connections} == {
        "http://a:1",
        "http://b:2",
        "http://c:3",
    }
    assert all(connection.pool._pool.pool.maxsize == 7 for connection in client.transport.connection_pool.connections)
    client.close()


def test_unencrypted_credentials_are_warned_of_unless_they_stay_here(caplog: pytest.LogCaptureFixture) -> None:
    connect("http://127.0.0.1:9200", settings(bearer_token="t")).close()
    assert caplog.text == ""
    connect("http://me:hush@search.example.org", settings()).close()
    assert "unencrypted" in caplog.text
    assert "hush" not in caplog.text


def test_aws_without_credentials_or_botocore_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match="no AWS credentials"):
        connect("https://localhost", settings(aws_region="eu-west-1"))
    with pytest.raises(SettingsError, match="nobody"):
        connect("https://localhost", settings(aws_region="eu-west-1", aws_profile="nobody"))
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(FeatureMissing) as caught:
        connect("https://localhost", settings(aws_region="eu-west-1"))
    assert "dar-search[aws]" in caught.value.hint


PROD = '[profiles.prod]\nhosts = ["https://a:9200", "https://b:9200/x"]\nusername = "me"\n'


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "profiles.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_is_literal_or_in_a_variable_or_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROD_PASSWORD", "from the variable")
    (tmp_path / "secret").write_text("from the file\r\n")
    for text, value in (
        ('"literal"', "literal"),
        ('{ env = "PROD_PASSWORD" }', "from the variable"),
        (f'{{ file = "{tmp_path}/secret" }}', "from the file"),
    ):
        profile = read_profile(written(tmp_path, f"{PROD}password = {text}\n"), "prod")
        assert secret(profile.password) == value
        assert value not in repr(profile)
        assert value not in profile.model_dump_json()


def test_a_secret_that_is_not_where_it_should_be_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROD_PASSWORD", raising=False)
    profile = read_profile(written(tmp_path, PROD + 'password = { env = "PROD_PASSWORD" }\n'), "prod")
    with pytest.raises(SettingsError, match="PROD_PASSWORD"):
        secret(profile.password)
    profile = read_profile(written(tmp_path, PROD + 'password = { file = "/does/not/exist" }\n'), "prod")
    with pytest.raises(SettingsError, match="/does/not/exist"):
        secret(profile.password)


@pytest.mark.parametrize("name", ["password", "api_key", "bearer_token", "client_key_password"])
def test_a_literal_secret_in_a_file_that_everybody_can_read_is_refused(tmp_path: Path, name: str) -> None:
    text = f'{PROD}[profiles.other]\nhosts = ["https://c"]\n{name} = "hush"\n'
    with pytest.raises(SettingsError, match=name) as caught:
        read_profile(written(tmp_path, text, 0o644), "prod")
    assert "chmod 600" in caught.value.hint
    assert "hush" not in str(caught.value)
    read_profile(written(tmp_path, text, 0o640), "prod")
    read_profile(written(tmp_path, PROD + 'password = { env = "X" }\n', 0o644), "prod")


def test_the_configuration_file_holds_to_the_same_rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[opensearch]\nusername = "me"\npassword = "hush"\n')
    path.chmod(0o644)
    monkeypatch.setenv("DAR_CONFIG", str(path))
    with pytest.raises(SettingsError, match="everybody can read"):
        load_settings()
    path.chmod(0o600)
    assert secret(load_settings().opensearch.password) == "hush"


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (PROD, "prdo", 'Did you mean "prod"'),
        (PROD, "other", "There are: prod"),
        ("", "prod", "none"),
        ("profiles = 3", "prod", "none"),
        ("[profiles.prod", "prod", "TOML"),
        ("[profiles.prod]\nhosts = []\n", "prod", "hosts"),
        ('[profiles.prod]\nusername = "me"\n', "prod", "hosts"),
        (PROD + 'pasword = { env = "X" }\n', "prod", "pasword"),
        (PROD + 'password = { env = "X", file = "y" }\n', "prod", "password"),
        (PROD + "timeout = -1\n", "prod", "timeout"),
    ],
)
def test_a_wrong_profile_is_a_one_line_error_that_names_what_is_wrong(
    tmp_path: Path, text: str, name: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        read_profile(written(tmp_path, text), name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_of_profiles_says_where_it_would_be(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"profiles\.toml does not exist"):
        connect("profile:prod", load_settings())


def test_a_profile_stands_before_the_address_in_the_environment_and_after_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENSEARCH_URL", "http://elsewhere:9200")
    assert load_settings().store == "http://elsewhere:9200"
    monkeypatch.setenv("DAR_PROFILE", "prod")
    assert load_settings().store == "profile:prod"
    assert load_settings(store="http://here:9200").store == "http://here:9200"
    assert read_profile(written(tmp_path, PROD), "prod") == Profile(
        hosts=("https://a:9200", "https://b:9200/x"), username="me"
    )
