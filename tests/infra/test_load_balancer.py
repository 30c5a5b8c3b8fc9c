"""The way in, in the cloud: certificates, HTTPS alone, and a rate for each address."""

import re
from typing import Any

import pytest

from shared.batches.caller import _SITE_HOST
from tests.terraform import parsed, resources

DAY = 86_400


def test_every_backend_has_the_policy_and_says_https_alone_and_logs_nothing() -> None:
    backends = {name: body for name, body in resources().items() if "_backend_service." in name}
    assert backends
    for backend in backends.values():
        assert backend["security_policy"] == "${google_compute_security_policy.front_door.id}"
        [header] = backend["custom_response_headers"]
        told = re.fullmatch(r'"?Strict-Transport-Security: max-age=(\d+)"?', header)
        assert told
        assert int(told[1]) == 365 * DAY
        assert backend["log_config"] == [{"enable": False}]


def test_an_address_has_a_rate_and_everything_else_passes() -> None:
    rules = resources()["google_compute_security_policy.front_door"]["rule"]
    first, last = sorted(rules, key=lambda rule: rule["priority"])
    assert (first["action"], last["action"], last["priority"]) == ("throttle", "allow", 2_147_483_647)
    for rule in rules:
        assert rule["match"][0]["config"] == [{"src_ip_ranges": ["*"]}]
    [rate] = first["rate_limit_options"]
    assert (rate["enforce_on_key"], rate["conform_action"], rate["exceed_action"]) == (
        "IP",
        "allow",
        "deny(429)",
    )
    [threshold] = rate["rate_limit_threshold"]
    # Google knows these intervals alone.
    assert threshold["interval_sec"] in (10, 30, 60, 120, 180, 240, 300, 600, 900, 1200, 1800, 2700, 3600)
    assert f"{threshold['count']:,} requests a minute" in first["description"]
    assert threshold["interval_sec"] == 60


def test_old_versions_of_tls_are_refused() -> None:
    proxy = resources()["google_compute_target_https_proxy.front_door"]
    assert proxy["ssl_policy"] == "${google_compute_ssl_policy.front_door.id}"
    policy = resources()["google_compute_ssl_policy.front_door"]
    assert (policy["profile"], policy["min_tls_version"]) == ("MODERN", "TLS_1_2")


def test_nothing_listens_where_a_key_would_be_sent_in_clear() -> None:
    rules = {
        body["port_range"]: body["target"]
        for name, body in resources().items()
        if "_global_forwarding_rule." in name
    }
    assert rules == {"443": "${google_compute_target_https_proxy.front_door.id}"}


def test_every_host_has_a_certificate_of_its_own_whose_name_no_other_host_has() -> None:
    [hosts] = [block["hosts"] for block in parsed()["locals"] if "hosts" in block]
    assert "for host in setunion([var.domain], var.other_hosts) : host =>" in hosts
    # A certificate that is in use is neither changed nor made again under its name.
    assert '"waybill-${substr(sha256(host), 0, 12)}"' in hosts
    of_hosts = {
        name: body
        for name, body in resources().items()
        if "certificate_manager" in name and name.endswith(".host")
    }
    assert len(of_hosts) == 3
    for body in of_hosts.values():
        assert (body["for_each"], body["name"]) == ("${local.hosts}", "${each.value}")
    assert of_hosts["google_certificate_manager_dns_authorization.host"]["domain"] == "${each.key}"
    [managed] = of_hosts["google_certificate_manager_certificate.host"]["managed"]
    assert managed["domains"] == ["${each.key}"]
    entry = of_hosts["google_certificate_manager_certificate_map_entry.host"]
    assert entry["hostname"] == "${each.key}"
    assert entry["certificates"] == ["${google_certificate_manager_certificate.host[each.key].id}"]
    proxy = resources()["google_compute_target_https_proxy.front_door"]
    assert proxy["certificate_map"] == (
        "//certificatemanager.googleapis.com/${google_certificate_manager_certificate_map.front_door.id}"
    )
    assert not [name for name in resources() if "managed_ssl_certificate" in name]


def variable(name: str) -> Any:
    return next(block[name] for block in parsed()["variable"] if name in block)


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("api.3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b.waybill.example.com", True),
        ("waybill.example.com", True),
        ("*.example.com", False),
        ("api.example.com.", False),
        ("https://api.example.com", False),
        ("API.example.com", False),
        ("localhost", False),
        ("a..example.com", False),
    ],
)
def test_other_hosts_are_whole_names(host: str, good: bool) -> None:
    pattern = re.search(r'regex\("(.+?)", host\)', variable("other_hosts")["validation"][0]["condition"])
    assert pattern
    assert bool(re.search(pattern[1], host)) == good


def test_a_sites_host_can_be_one_of_them() -> None:
    host = "api.3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b.waybill.example.com"
    assert _SITE_HOST.match(host)
    # A wildcard reaches one label deep, so none of the domain's covers it.
    assert host.removesuffix(".waybill.example.com").count(".") == 1
    records = next(block["dns_records"] for block in parsed()["output"] if "dns_records" in block)
    assert "google_certificate_manager_dns_authorization.host" in records["value"]
    assert "google_compute_global_address.front_door.address" in records["value"]
