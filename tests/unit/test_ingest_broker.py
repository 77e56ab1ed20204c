"""What a broker's address says about TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from dar_ingest.broker import reached

from dar_search.errors import SettingsError


@pytest.mark.parametrize("address", ["redis://h:1/0", "amqp://u:p@h:1//", "memory://", "redis://a/0;redis://b/0"])
def test_an_address_without_tls_stays_as_it_is(address: str, tmp_path: Path) -> None:
    assert reached(address) == (address, None)
    assert reached(address, tmp_path / "not there") == (address, None)


def test_certificate_and_name_are_checked_unless_the_address_says_not() -> None:
    checked = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
    assert reached("rediss://:p%40w@h:6380/0") == ("rediss://:p%40w@h:6380/0", checked)
    unchecked = {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    for value in ("none", "CERT_NONE"):
        assert reached(f"rediss://h/0?ssl_cert_reqs={value}&x=1") == ("rediss://h/0?x=1", unchecked)
    nameless = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": False}
    assert reached("rediss://h/0?ssl_check_hostname=False") == ("rediss://h/0", nameless)
    assert reached("amqps://u:p@h:5671//") == (
        "amqps://u:p@h:5671//",
        {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "h"},
    )
    assert reached("amqps://h//?ssl_cert_reqs=none") == ("amqps://h//", {"cert_reqs": ssl.CERT_NONE})
    assert reached("amqps://h//?ssl_check_hostname=false") == ("amqps://h//", {"cert_reqs": ssl.CERT_REQUIRED})


def test_the_files_of_the_address_come_before_that_of_the_settings(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    ours.touch()
    theirs.touch()
    _, redis = reached("rediss://h/0", ours)
    _, rabbit = reached("amqps://h//", ours)
    assert redis is not None
    assert rabbit is not None
    assert redis["ssl_ca_certs"] == rabbit["ca_certs"] == str(ours)
    _, named = reached(f"rediss://h/0?ssl_ca_certs={theirs}&ssl_certfile={ours}&ssl_keyfile={ours}", ours)
    assert named is not None
    assert (named["ssl_ca_certs"], named["ssl_certfile"], named["ssl_keyfile"]) == (str(theirs), str(ours), str(ours))


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("redis://h/0?ssl_cert_reqs=none", "rediss://"),
        ("amqp://h//?ssl_ca_certs=/x", "amqps://"),
        ("rediss://h/0?ssl_cert_reqs=perhaps", "none, optional, required"),
        ("rediss://h/0?ssl_check_hostname=perhaps", "true, false"),
        ("rediss://h/0?ssl_verify=none", "ssl_cert_reqs"),
        ("rediss://h/0?ssl_ca_certs=/not/there.pem", "/not/there.pem"),
        ("amqps://h:port//", "address"),
        ("amqps://a//;amqps://b//", "name"),
        ("rediss://a/0;redis://b/0", "same"),
        ("rediss://a/0;rediss://b/0?ssl_cert_reqs=none", "same"),
    ],
)
def test_an_address_that_says_nothing_sensible_is_refused(address: str, what: str) -> None:
    with pytest.raises(SettingsError, match=what):
        reached(address)
