"""The functions that call customers, and they alone, have the fixed address and reach private networks."""

import re
from pathlib import Path

from infra.bundle import Bundle
from infra.package import ROOT
from tests.terraform import parsed, resources

EXPORTS = {"export_work_orders_timeline", "export_work_orders_states", "export_source", "copy_images"}

WHO_CALLS = {
    # A run's file is sent by whichever function does the piece; a connection is tested where its route is.
    "shared/delivery/sftp/remote.py": EXPORTS | {"exports", "console"},
    # What is asked at once is asked where the request is; the rest by the analyses' own function.
    "shared/analysis/analyser.py": {"batches", "analyse_work_order"},
    # An image that a request names by its URL.
    "shared/analysis/sent.py": {"batches"},
}
"""What calls addresses that customers give -> the functions that it runs in."""


def test_the_functions_that_call_customers_are_those_in_which_something_does() -> None:
    calls = {
        str(path.relative_to(ROOT))
        for path in Path(ROOT / "shared").rglob("*.py")
        if re.search(r"from shared\.net import outbound", path.read_text(encoding="utf-8"))
    }
    assert calls == set(WHO_CALLS), "who else calls customers now, and in which functions?"
    said = {name for name, function in Bundle.load().functions.items() if function.calls_customers}
    assert said == set().union(*WHO_CALLS.values())


def test_they_alone_are_given_the_network_and_all_that_they_send_goes_by_it() -> None:
    service = resources()["google_cloudfunctions2_function.own"]["service_config"][0]
    who = "${local.egress && try(each.value.calls_customers, false) ? "
    assert service["vpc_connector"] == who + "google_vpc_access_connector.egress[0].id : null}"
    # Of private ranges alone, calls to the internet would come from any address of Google's.
    assert service["vpc_connector_egress_settings"] == who + '"ALL_TRAFFIC" : null}'


def test_nothing_of_it_is_made_until_a_range_is_given() -> None:
    [local] = [block for block in parsed()["locals"] if "egress" in block]
    assert local["egress"] == '${var.egress_range != ""}'
    made = {name: body for name, body in resources().items() if name.endswith(".egress")}
    assert {name.split(".")[0] for name in made} == {
        "google_compute_network",
        "google_compute_subnetwork",
        "google_vpc_access_connector",
        "google_compute_address",
        "google_compute_router",
        "google_compute_router_nat",
    }
    for body in made.values():
        assert re.fullmatch(r'\$\{local\.egress( && var\.egress_network == "")? \? 1 : 0\}', body["count"])


def test_the_address_is_fixed_and_told() -> None:
    nat = resources()["google_compute_router_nat.egress"]
    assert nat["nat_ip_allocate_option"] == "MANUAL_ONLY"
    assert nat["nat_ips"] == ["${google_compute_address.egress[0].self_link}"]
    [told] = [block["egress_address"] for block in parsed()["output"] if "egress_address" in block]
    assert told["value"] == "${one(google_compute_address.egress[*].address)}"
    assert resources()["google_compute_address.egress"]["lifecycle"] == [{"prevent_destroy": True}]


def test_every_machine_of_the_connector_has_its_ports_of_the_one_address() -> None:
    # https://cloud.google.com/nat/docs/ports-and-addresses
    [most] = [block["connector_instances"] for block in parsed()["locals"] if "connector_instances" in block]
    assert (
        resources()["google_vpc_access_connector.egress"]["max_instances"] == "${local.connector_instances}"
    )
    assert resources()["google_compute_router_nat.egress"]["min_ports_per_vm"] * most <= 64_512


def test_googles_own_apis_are_reached_from_there() -> None:
    assert resources()["google_compute_subnetwork.egress"]["private_ip_google_access"] is True
