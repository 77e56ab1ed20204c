"""Which addresses are public, and what an allow-list lets through."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dar_search.errors import SettingsError
from dar_search.ingestion.fetching.addresses import AllowedHosts, is_public

PUBLIC = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0",
    "191.255.255.255", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0", "223.255.255.255",
    "2606:4700::1111", "2a00:1450:4001::200e", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
    "2a00::5efe:808:808",
]  # fmt: skip
NOT_PUBLIC = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "168.63.129.16", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.7", "224.0.0.1", "239.255.255.255",
    "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "64:ff9b:1:7f00:0:100::", "100::1",
    "2001::1", "2001:0:7f00:1::", "2001:10::1", "2001:db8::1", "2002:7f00:1::1", "2002:a00:1::", "2002:c0a8:101::1",
    "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "4000::1",
    "2a00::5efe:7f00:1", "2a00::200:5efe:a00:1", "fe80::1%eth0",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert is_public(ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_no_other_address_is_public(text: str) -> None:
    assert not is_public(ip_address(text))


@given(st.ip_addresses(v=4))
def test_what_python_calls_private_or_multicast_is_never_public(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_every_form_that_carries_an_address_is_as_public_as_that(address: IPv4Address) -> None:
    number = int(address)
    forms = [0xFFFF << 32 | number, 0x64FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1]
    assert [is_public(IPv6Address(form)) for form in forms] == [is_public(address)] * 3


@given(st.ip_addresses(v=6))
def test_what_python_calls_private_is_never_public_in_version_six(address: IPv6Address) -> None:
    if not address.is_global or address.is_multicast or address.is_site_local:
        assert not is_public(address)


def test_an_allowed_name_is_that_name_alone_or_all_below_it() -> None:
    allowed = AllowedHosts(["Pictures.Internal", ".example.internal", "cdn.internal:8080"])
    assert allowed.names("pictures.internal", 80)
    assert allowed.names("a.b.example.internal", 443)
    assert allowed.names("cdn.internal", 8080)
    refused = ["other.internal", "xpictures.internal", "example.internal", "example.internal.evil.org", ""]
    assert not any(allowed.names(host, 80) for host in refused)
    assert not allowed.names("cdn.internal", 80)


def test_an_allowed_network_holds_addresses_also_as_mapped_ones() -> None:
    allowed = AllowedHosts(["10.1.0.0/16", "127.0.0.1:8080", "[fd00::1]:81", "fd12::/16"])
    assert allowed.contains(ip_address("10.1.2.3"), 1)
    assert allowed.contains(ip_address("::ffff:10.1.2.3"), 1)
    assert allowed.contains(ip_address("127.0.0.1"), 8080)
    assert allowed.contains(ip_address("fd00::1"), 81)
    assert allowed.contains(ip_address("fd12::7"), 9)
    assert not allowed.contains(ip_address("10.2.0.1"), 1)
    assert not allowed.contains(ip_address("127.0.0.1"), 8081)
    assert not allowed.contains(ip_address("127.0.0.2"), 8080)
    assert not allowed.contains(ip_address("64:ff9b::10.1.2.3"), 1)
    assert not allowed.names("10.1.2.3", 1)


@pytest.mark.parametrize(
    "entry", ["", "http://a.internal", "a b", "a:0", "a:99999", "10.0.0.0/99", "[a]", "a@b", "a/b"]
)
def test_an_entry_that_names_no_host_is_refused(entry: str) -> None:
    with pytest.raises(SettingsError, match="names no host"):
        AllowedHosts([entry])
