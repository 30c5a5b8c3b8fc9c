"""infra/terraform/ holds what the bundle lists, says none of it again, and agrees with the local suite.



Terraform itself is not needed: the files are read as data.
"""

import json
import re
from datetime import UTC, datetime
from typing import Any

import hcl2
import pytest
import yaml

from infra.bundle import BUNDLE_YAML, Bundle
from infra.local.pubsub import STORAGE_TOPIC, Delivery, cloud_event_request
from infra.package import ROOT
from shared import ids
from shared.accounts.customers import account_of
from shared.settings import Settings
from shared.work.lifetimes import REMOVE_AFTER
from tests.shared.accounts.test_ids import WRONG_IDS
from tests.terraform import FILES, code, parsed, resources, said

BUNDLE: dict[str, Any] = yaml.safe_load(BUNDLE_YAML.read_text(encoding="utf-8"))
INDEXES: dict[str, Any] = json.loads((ROOT / "infra" / "firestore.indexes.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs" / "operators" / "deploying.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_parses(file: Any) -> None:
    assert hcl2.loads(file.read_text(encoding="utf-8"))


def test_is_written_as_it_was_asked_to_be() -> None:
    assert {file.stem for file in FILES} == {
        "accounts",
        "alerts",
        "backups",
        "certificates",
        "firestore",
        "functions",
        "imports",
        "load_balancer",
        "main",
        "messaging",
        "network",
        "outputs",
        "secrets",
        "storage",
        "variables",
    }
    terraform = parsed()["terraform"][0]
    versions = [provider["version"] for provider in terraform["required_providers"][0].values()]
    assert len(versions) == 2
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in versions)


def test_every_section_that_is_read_is_there_and_every_section_is_read() -> None:
    assert set(re.findall(r"local\.bundle\.(\w+)", code())) == set(BUNDLE)


def test_every_local_and_every_variable_that_is_read_is_there() -> None:
    named = {name for block in parsed()["locals"] for name in block}
    assert set(re.findall(r"\blocal\.(\w+)", code())) == named
    variables = {name for block in parsed()["variable"] for name in block}
    assert set(re.findall(r"\bvar\.(\w+)", code())) == variables


def test_the_page_has_every_variable_with_its_default() -> None:
    table = PAGE.partition("\n## Variables\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    for block in parsed()["variable"]:
        for name, variable in block.items():
            [row] = [row for row in rows if f"`{name}`" in row.split("|")[1]]
            default = variable.get("default")
            assert not default or f"`{default}`" in row, row
    assert sum(row.split("|")[1].count("`") // 2 for row in rows) == len(parsed()["variable"])


def test_every_resource_that_is_named_is_there() -> None:
    named = set(re.findall(r"(?<![.\w])((?:google|terraform)_\w+\.\w+)", code()))
    data = {f"{kind}.{name}" for block in parsed()["data"] for kind, each in block.items() for name in each}
    given_up = {re.sub(r"^\$\{|\}$", "", block["from"]) for block in parsed()["removed"]}
    assert named - {"google_project.this"} - given_up <= set(resources())
    assert not given_up & set(resources())
    assert set(re.findall(r"\bdata\.(\w+\.\w+)", code())) == data


NOT_TERRAFORMS: dict[str, str] = {}
"""Fields of the bundle that Terraform need not read, each with the reason. None today."""


@pytest.mark.parametrize("section", ["functions", "accounts"])
def test_every_field_is_used(section: str) -> None:
    fields = {field for entry in BUNDLE[section].values() for field in entry}
    if section == "functions":
        fields |= {kind for entry in BUNDLE[section].values() for kind in entry["trigger"]}
    unused = {field for field in fields if not re.search(rf"\.{field}\b", code())}
    assert unused == {field for field in fields if field in NOT_TERRAFORMS}


def test_every_field_of_a_bucket_is_used() -> None:
    fields = {field for entry in BUNDLE["buckets"].values() for field in entry}
    # `holds` is for who reads the list: a bucket has no description.
    assert {field for field in fields if not re.search(rf"\.{field}\b", code())} == {"holds"}


def test_spells_out_no_name_of_the_bundle() -> None:
    bundle = Bundle.load()
    topics = {function.topic for function in bundle.functions.values() if function.topic}
    names = {*bundle.functions, *topics, *bundle.buckets, *bundle.accounts, *bundle.dead_letters}
    said = re.sub(r"\"description\": \"[^\"]*\"", "", code())
    assert [name for name in names if re.search(rf"(?<![\w/-]){re.escape(name)}(?![\w/-])", said)] == []
    paths = {path for function in bundle.functions.values() for path in function.paths}
    assert [path for path in paths if path != "/" and path in code()] == []


@pytest.mark.parametrize(
    ("resource", "over"),
    [
        ("google_cloudfunctions2_function.own", "${local.bundle.functions}"),
        ("google_storage_bucket.own", "${local.bundle.buckets}"),
        ("google_service_account.own", "${local.bundle.accounts}"),
        ("google_pubsub_topic.function", "${local.topic_functions}"),
        ("google_pubsub_topic.dead_letter", "${local.dead_letters}"),
        ("google_pubsub_subscription.dead_letter", "${local.dead_letters}"),
        ("google_compute_region_network_endpoint_group.http", "${local.http_functions}"),
        ("google_service_account.customer", "${var.customers}"),
    ],
)
def test_is_made_for_each(resource: str, over: str) -> None:
    assert resources()[resource]["for_each"] == over


def test_an_endpoint_with_a_final_slash_leads_to_the_same_function() -> None:
    rules = said("google_compute_url_map.front_door")
    for path in ("${prefix}", "${prefix}/*"):
        assert rules.count(f'"/{path}"') == 1, rules
    assert '["/", "//"]' in rules


def test_a_function_is_what_the_bundle_says() -> None:
    function = resources()["google_cloudfunctions2_function.own"]
    build, service = function["build_config"][0], function["service_config"][0]
    assert function["name"] == '${replace(each.key, "_", "-")}'
    assert build["entry_point"] == "${each.key}"
    assert service["timeout_seconds"] == "${each.value.timeout}"
    assert service["available_memory"] == "${each.value.memory}"
    assert service["max_instance_request_concurrency"] == "${each.value.concurrency}"
    assert service["max_instance_count"] == "${each.value.instances.most}"
    assert "each.value.concurrency > 1" in service["available_cpu"]
    assert service["service_account_email"] == "${google_service_account.own[each.value.account].email}"
    assert service["environment_variables"] == {
        "THREADS": "${tostring(each.value.concurrency)}",
        "GOOGLE_CLOUD_PROJECT": "${var.project}",
        "WAYBILL_URL": "https://${var.domain}",
        "WAYBILL_MAIL_FROM": '${coalesce(var.mail_from, "waybill@${var.domain}")}',
        "WAYBILL_SENDGRID_URL": "${var.sendgrid_url}",
        "WAYBILL_REGION": "${var.login_region}",
    }
    for trigger in triggers():
        assert "each.value.retry" in trigger["retry_policy"]
        assert trigger["service_account_email"] == service["service_account_email"]
    # It keeps what names no service: two functions may not become one.
    services = {name.replace("_", "-") for name in BUNDLE["functions"]}
    assert len(services) == len(BUNDLE["functions"])


def triggers() -> list[Any]:
    """What each `event_trigger` of a function says: that of a topic, that of a bucket."""
    blocks = resources()["google_cloudfunctions2_function.own"]["dynamic"]
    return [block["event_trigger"]["content"][0] for block in blocks if "event_trigger" in block]


def test_a_bucket_triggers_as_the_local_suite_has_it() -> None:
    topic, bucket = triggers()
    delivery = Delivery(
        subscription="s",
        topic=f"projects/p/topics/{STORAGE_TOPIC}take",
        message_id="1",
        data=b"{}",
        attributes={"bucketId": "b", "objectId": "o", "eventTime": "t"},
        publish_time=datetime(2026, 11, 23, tzinfo=UTC),
        attempt=1,
    )
    ours = cloud_event_request(delivery)[0]
    assert bucket["event_type"] == ours["ce-type"]
    [filter] = bucket["event_filters"]
    assert filter == {"attribute": "bucket", "value": "${event_trigger.value.name}"}
    assert bucket["trigger_region"] == "${lower(event_trigger.value.location)}"
    assert "event_filters" not in topic
    # Who publishes to the trigger's topic, and who receives from it.
    publishes = resources()["google_project_iam_member.storage_publishes"]
    assert (publishes["role"], publishes["member"]) == (
        "roles/pubsub.publisher",
        "${data.google_storage_project_service_account.this.member}",
    )
    receives = resources()["google_project_iam_member.receives"]
    assert "if can(function.trigger.bucket)" in receives["for_each"]
    assert receives["role"] == "roles/eventarc.eventReceiver"
    waited_for = said("google_cloudfunctions2_function.own")
    for needed in ("receives", "storage_publishes"):
        assert f"google_project_iam_member.{needed}" in waited_for


def test_dead_letters_and_invokers_are_of_every_event_function() -> None:
    functions = next(block for block in parsed()["locals"] if "event_functions" in block)
    assert "if !can(function.trigger.http)" in functions["event_functions"]
    assert "in local.event_functions" in resources()["terraform_data.dead_letter"]["for_each"]


def test_secrets_reach_the_functions_that_list_them_and_no_other_account() -> None:
    blocks = resources()["google_cloudfunctions2_function.own"]["service_config"][0]["dynamic"]
    [given] = [b["secret_environment_variables"] for b in blocks if "secret_environment_variables" in b]
    assert given["for_each"] == "${toset(try(each.value.secrets, []))}"
    assert given["content"][0]["version"] == "latest"
    assert given["content"][0]["secret"] == "${local.secret_ids[secret_environment_variables.value]}"
    [ids] = [block["secret_ids"] for block in parsed()["locals"] if "secret_ids" in block]
    assert 'variable => replace(lower(variable), "_", "-")' in ids
    reads = resources()["google_secret_manager_secret_iam_member.own"]
    assert reads["role"] == "roles/secretmanager.secretAccessor"
    assert "for secret in try(function.secrets, [])" in reads["for_each"]
    assert reads["secret_id"] == "${local.secret_ids[each.value.secret]}"
    assert not [
        name for name in resources() if re.match(r"google_secret_manager_secret(_version)?\.", name)
    ], "the first version comes before the first apply, and the state would hold it"


def test_the_settings_that_functions_need_are_set() -> None:
    given = resources()["google_cloudfunctions2_function.own"]["service_config"][0]["environment_variables"]
    defaults = {name: each.get("default") for block in parsed()["variable"] for name, each in block.items()}
    assert defaults["sendgrid_url"] == Settings.sendgrid_url
    values = dict.fromkeys(given, "a-project") | {"WAYBILL_MAIL_FROM": "waybill@acme.example"}
    settings = Settings.from_env(values)
    assert settings.project == "a-project"


def test_no_log_keeps_the_url_of_a_link() -> None:
    exclusion = resources()["google_logging_project_exclusion.links"]
    parts = [
        re.fullmatch(r'httpRequest\.(\w+):\\?"([^"\\]+)\\?"', part)
        for part in exclusion["filter"].split(" OR ")
    ]
    held = {part[1]: part[2] for part in parts if part}
    assert set(held) == {"requestUrl", "referer"}
    for text in held.values():
        assert text in "https://api.example.com/v1/downloads/a-token"
        for other in ("/v0.2/batches/upload.py", "/v1/exports/1/runs/2:retry", "/sites/a/v0.2/batches"):
            assert text not in other
    assert "disabled" not in exclusion
    assert '"logging.googleapis.com"' in said("google_project_service.api")


def test_only_public_functions_and_triggers_may_call() -> None:
    invoker = resources()["google_cloud_run_v2_service_iam_member.invoker"]
    assert invoker["role"] == "roles/run.invoker"
    who = re.search(r" if (.*)\}\}$", " ".join(invoker["for_each"].split()))
    assert who
    assert who[1] == "!can(function.trigger.http) || (try(function.public, false) && !var.all_users_refused)"
    assert invoker["member"].startswith('${try(each.value.public, false) ? "allUsers"')
    assert json.dumps(resources()).count("allUsers") == 1


def test_where_all_users_are_refused_cloud_run_does_not_ask_who_calls_a_public_function() -> None:
    unasked = resources()["terraform_data.public"]
    who = " ".join(unasked["for_each"].split())
    assert "in local.http_functions" in who
    assert "if try(function.public, false) && var.all_users_refused" in who
    # The functions' API deploys the service, and knows nothing of this.
    assert unasked["lifecycle"] == [
        {"replace_triggered_by": ["${google_cloudfunctions2_function.own[each.key]}"]}
    ]
    assert "gcloud run services update" in said("terraform_data.public")
    assert "--no-invoker-iam-check" in said("terraform_data.public")
    defaults = {name: each.get("default") for block in parsed()["variable"] for name, each in block.items()}
    assert defaults["all_users_refused"] is False
    # Whoever calls still comes by the load balancer.
    service = resources()["google_cloudfunctions2_function.own"]["service_config"][0]
    assert service["ingress_settings"].startswith(
        '${can(each.value.trigger.http) ? "ALLOW_INTERNAL_AND_GCLB"'
    )


def test_a_database_that_is_there_is_taken_over_where_that_is_said() -> None:
    [taken] = parsed()["import"]
    assert taken["to"] == "${google_firestore_database.default}"
    assert taken["for_each"] == '${toset(var.import_database ? ["(default)"] : [])}'
    assert taken["id"] == "projects/${var.project}/databases/${each.key}"


def test_the_database_is_backed_up_for_longer_than_it_can_be_read_back() -> None:
    [schedule] = [body for name, body in resources().items() if "firestore_backup_schedule" in name]
    assert schedule["database"] == "${google_firestore_database.default.name}"
    assert schedule["daily_recurrence"] == [{}]
    days = int(schedule["retention"].removesuffix("s")) / 86_400
    assert 7 < days <= 14 * 7  # https://cloud.google.com/firestore/docs/backups


def test_dead_letters_are_kept_and_set_with_the_attempts() -> None:
    patch = said("terraform_data.dead_letter")
    for needed in ("each.value.attempts", "each.value.dead_letter", "each.value.timeout"):
        assert needed in patch
    for option in ("--dead-letter-topic", "--max-delivery-attempts", "--ack-deadline"):
        assert option in patch
    kept = resources()["google_pubsub_subscription.dead_letter"]
    assert kept["expiration_policy"] == [{"ttl": ""}]
    assert resources()["google_pubsub_topic_iam_member.dead_letter"]["role"] == "roles/pubsub.publisher"
    assert resources()["google_project_iam_member.dead_letter"]["role"] == "roles/pubsub.subscriber"


def test_attempts_end_before_the_event_is_dropped() -> None:
    # Eventarc keeps an event a day: https://cloud.google.com/eventarc/docs/retry-events
    for name, function in Bundle.load().functions.items():
        waits = sum(min(600, 10 * 2**n) for n in range((function.attempts or 1) - 1))
        assert waits + (function.attempts or 1) * function.timeout < 24 * 3600, name


def test_point_in_time_recovery_is_on() -> None:
    database = resources()["google_firestore_database.default"]
    assert database["point_in_time_recovery_enablement"] == "POINT_IN_TIME_RECOVERY_ENABLED"
    assert database["delete_protection_state"] == "DELETE_PROTECTION_ENABLED"
    assert database["name"] == "(default)"


def test_indexes_are_made_of_the_file_and_of_every_key_in_it() -> None:
    local = next(block for block in parsed()["locals"] if "firestore" in block)
    assert local["firestore"] == '${jsondecode(file("${path.module}/../firestore.indexes.json"))}'
    assert "local.firestore.indexes" in resources()["google_firestore_index.own"]["for_each"]
    assert "local.firestore.fieldOverrides" in resources()["google_firestore_field.own"]["for_each"]
    keys = {key for index in INDEXES["indexes"] for key in [*index, *(k for f in index["fields"] for k in f)]}
    for key in keys:
        assert f".{key}" in said("google_firestore_index.own"), key
    overrides = INDEXES["fieldOverrides"]
    for key in {key for each in overrides for key in [*each, *(k for i in each["indexes"] for k in i)]}:
        assert f".{key}" in said("google_firestore_field.own"), key


def test_our_buckets_are_named_as_the_settings_name_them_and_closed() -> None:
    settings = Settings(project="a-project")
    named = resources()["google_storage_bucket.own"]["name"]
    made = {
        named.replace("${var.project}", "a-project").replace("${each.key}", key) for key in BUNDLE["buckets"]
    }
    assert {settings.staging_bucket, settings.images_bucket, settings.records_bucket} <= made
    for bucket in ("google_storage_bucket.own", "google_storage_bucket.source"):
        assert resources()[bucket]["uniform_bucket_level_access"] is True
        assert resources()[bucket]["public_access_prevention"] == "enforced"
    source = resources()["google_storage_bucket.source"]["name"].replace("${var.project}", "a-project")
    assert source not in made


def test_a_customers_account_is_named_as_the_code_names_it() -> None:
    account = resources()["google_service_account.customer"]
    email = account["account_id"].replace("${each.value}", "acme") + "@a-project.iam.gserviceaccount.com"
    assert email == account_of("acme", "a-project")
    assert account["lifecycle"] == [{"prevent_destroy": True}]


@pytest.mark.parametrize(
    "slug", ["a", "acme", "a-c-m-e-9", "123456789", "1234567890", "", "-a", "a-", "A", "a_b"]
)
def test_a_slug_is_valid_here_exactly_where_it_is_locally(slug: str) -> None:
    customers = next(block["customers"] for block in parsed()["variable"] if "customers" in block)
    condition = customers["validation"][0]["condition"]
    pattern = re.search(r'regex\("(.+?)", slug\)', condition)
    assert pattern
    valid = bool(re.search(pattern[1], slug))
    assert valid == bool(ids.SLUG.fullmatch(slug))
    if valid:
        assert (
            len(resources()["google_service_account.customer"]["account_id"].replace("${each.value}", slug))
            <= 30
        )


@pytest.mark.parametrize("id", ["acme", "A_1-b", "7", "a" * 128, *WRONG_IDS])
def test_a_customers_id_is_valid_here_exactly_where_it_is_at_the_command(id: str) -> None:
    customers = next(block["customers"] for block in parsed()["variable"] if "customers" in block)
    pattern = re.search(r'regex\("(.+?)", id\)', customers["validation"][2]["condition"])
    assert pattern
    # Of `$` Go's regular expressions take the end of the text alone, as `\Z` is in Python's.
    valid = bool(re.search(pattern[1].replace("$", r"\Z"), id))
    assert valid == bool(ids.NAMED.fullmatch(id))


def test_only_who_impersonates_makes_tokens_and_only_of_customers_or_signs_as_itself() -> None:
    granted = {
        name: body for name, body in resources().items() if "iam.serviceAccountTokenCreator" in str(body)
    }
    assert set(granted) == {
        "google_service_account_iam_member.impersonates",
        "google_service_account_iam_member.signs",
    }
    signs = granted["google_service_account_iam_member.signs"]
    assert "if try(account.signs, false)" in signs["for_each"]
    assert signs["service_account_id"] == "${google_service_account.own[each.key].name}"
    assert signs["member"] == "${google_service_account.own[each.key].member}"
    grant = granted["google_service_account_iam_member.impersonates"]
    assert "if account.impersonates" in grant["for_each"]
    assert grant["service_account_id"].startswith("${google_service_account.customer[")


def test_customers_read_their_own_folder_and_no_bucket() -> None:
    about = {name for name, body in resources().items() if "google_service_account.customer[" in str(body)}
    assert about == {
        "google_service_account_iam_member.impersonates",
        "google_storage_managed_folder_iam_member.customer",
    }
    assert resources()["google_storage_managed_folder.customer"]["name"] == "${each.value.customer}/"


def test_the_customers_grant_is_no_resource() -> None:
    for name in resources():
        assert "customer_grant" not in said(name)
        assert not [permission for permission in BUNDLE["customer_grant"] if permission in said(name)]
    own = {name: body for name, body in resources().items() if "custom_role" in name}
    assert [body["for_each"] for body in own.values()] == ["${local.bundle.roles}"]
    assert [body["permissions"] for body in own.values()] == ["${each.value}"]


def test_publishing_is_granted_on_the_topics_that_the_bundle_names() -> None:
    publishers = {name for name, body in resources().items() if "pubsub.publisher" in str(body)}
    assert publishers == {
        "google_pubsub_topic_iam_member.publishes",
        "google_pubsub_topic_iam_member.dead_letter",
        "google_project_iam_member.storage_publishes",
    }
    grant = resources()["google_pubsub_topic_iam_member.publishes"]
    assert "for topic in account.publishes" in grant["for_each"]
    assert grant["topic"] == "${google_pubsub_topic.function[each.value.topic].id}"
    assert grant["member"] == "${google_service_account.own[each.value.account].member}"


def test_buckets_stand_in_the_functions_region_and_are_never_destroyed() -> None:
    variables = {name: each for block in parsed()["variable"] for name, each in block.items()}
    assert variables["bucket_location"]["default"] == ""
    [place] = [block["bucket_location"] for block in parsed()["locals"] if "bucket_location" in block]
    assert place == "${coalesce(var.bucket_location, var.region)}"
    for bucket in ("google_storage_bucket.own", "google_storage_bucket.source"):
        assert resources()[bucket]["location"] == "${local.bucket_location}"
    assert resources()["google_storage_bucket.own"]["lifecycle"] == [{"prevent_destroy": True}]


def test_images_move_to_nearline_after_the_days_that_the_bundle_names() -> None:
    dynamic = resources()["google_storage_bucket.own"]["dynamic"]
    rules = [each["lifecycle_rule"] for each in dynamic if "lifecycle_rule" in each]
    said = {rule["for_each"]: rule["content"][0] for rule in rules}
    moves = said["${can(each.value.nearline_after) ? [each.value.nearline_after] : []}"]
    assert moves["action"] == [{"type": "SetStorageClass", "storage_class": "NEARLINE"}]
    assert moves["condition"][0]["age"] == "${lifecycle_rule.value}"
    assert {name for name, each in BUNDLE["buckets"].items() if "nearline_after" in each} == {"images"}


def test_firestore_deletes_what_its_time_has_passed_in_the_collections_that_the_code_says() -> None:
    policies = {each["collectionGroup"]: each for each in INDEXES["fieldOverrides"] if each.get("ttl")}
    ended = {"pieces", "runs", "batches", "jobs", "mails", "downloads"}
    assert set(policies) == ended | {
        "audit_trail",
        "stored",
        "console_sessions",
        "api_keys",
        "run_days",
        "console_links",
    }
    for each in policies.values():
        # A growing time in an index would bound the writes to it.
        assert (each["fieldPath"], each["indexes"]) == (REMOVE_AFTER, [])
    blocks = resources()["google_firestore_field.own"]["dynamic"]
    [ttl] = [each["ttl_config"] for each in blocks if "ttl_config" in each]
    assert ttl["for_each"] == "${try(each.value.ttl, false) ? [true] : []}"


def test_the_page_gives_the_customer_the_line_with_all_that_is_granted() -> None:
    line = re.search(r"gcloud iam roles create .*--permissions=(\S+)", PAGE)
    assert line
    assert line[1].split(",") == BUNDLE["customer_grant"]
    assert "customer-SLUG-data-export@PROJECT.iam.gserviceaccount.com" in PAGE


def test_grants_are_additive() -> None:
    # A binding or a policy would take away what was granted by hand, or by Google itself.
    assert not [name for name in resources() if re.search(r"_iam_(binding|policy)\.", name)]
    assert not [
        role for role in re.findall(r"roles/[\w.]+", code()) if role in ("roles/owner", "roles/editor")
    ]


def test_pages_of_our_own_site_alone_may_use_the_buckets_that_the_bundle_opens() -> None:
    rules = [each["cors"] for each in resources()["google_storage_bucket.own"]["dynamic"] if "cors" in each]
    [rule] = rules
    assert rule["for_each"] == "${can(each.value.cors) ? [each.value.cors] : []}"
    [content] = rule["content"]
    assert content["origin"] == ["https://${var.domain}"]
    # The console has upload sessions begun for the origin of this URL (`Settings.origin`).
    assert '"WAYBILL_URL": "https://${var.domain}"' in code()
    names = {"methods": "method", "headers": "response_header", "seconds": "max_age_seconds"}
    assert {name: content[theirs] for name, theirs in names.items()} == {
        name: f"${{cors.value.{name}}}" for name in names
    }
    opened = {name: each["cors"] for name, each in BUNDLE["buckets"].items() if "cors" in each}
    assert list(opened) == ["uploads"]
    assert opened["uploads"]["methods"] == ["PUT"]
    # What a page sends to a session beyond what every page may, and what it reads.
    assert {"Content-Type", "Content-Range", "Range"} <= set(opened["uploads"]["headers"])


@pytest.mark.parametrize(("quota", "left"), [(100, 50), (100, 0), (100, -1), (200, 99)])
def test_customers_beyond_the_quota_of_service_accounts_fail_the_plan(quota: int, left: int) -> None:
    ours = len(BUNDLE["accounts"]) + 1  # and the one that builds
    customers = quota - ours - left
    [value] = [
        block["service_accounts_left"] for block in parsed()["locals"] if "service_accounts_left" in block
    ]
    counted = value.strip("${}").replace("length(var.customers)", str(customers))
    counted = counted.replace("length(local.bundle.accounts)", str(len(BUNDLE["accounts"])))
    numbers = counted.replace("var.service_accounts", str(quota)).split(" - ")
    assert int(numbers[0]) - sum(map(int, numbers[1:])) == left
    [output] = [
        block["service_accounts_left"] for block in parsed()["output"] if "service_accounts_left" in block
    ]
    [condition] = output["precondition"]
    assert condition["condition"] == "${local.service_accounts_left >= 0}"
    assert "“Service Account Count”" in condition["error_message"]
    # All that there are.
    made = {name for name in resources() if name.startswith("google_service_account.")}
    assert made == {f"google_service_account.{name}" for name in ("own", "customer", "build")}
