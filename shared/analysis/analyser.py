"""A site's own analyser: what it is asked, how it knows that we ask, and what its answer means.

It is sent, as JSON, `{"work_order": <export record>, "images": [{"id", "url"}], "parameters": {}}`, the URLs
being good for URL_SECONDS. It answers 200 with results (`results`), or 202 and sends those later.

It knows us by the header `X-Waybill-Signature: t=<seconds>,v1=<hex>`: the HMAC-SHA256 of `<seconds>.<body>`
under the site's secret. It should refuse a signature that is wrong, and one that is older than some minutes.
While keys are being rotated the header has a `v1` for each of the site's secrets, the newest first; an
analyser accepts it where any of them is right, and so can be given the new secret at any time in between.
"""

import hashlib
import hmac
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import orjson
from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared.accounts.customers import Site
from shared.accounts.networks import networks_of
from shared.analysis import results
from shared.clock import elapsed_since, stopwatch, unix_seconds
from shared.errors import CustomerMustAct, Invalid, Retry
from shared.gcp.clients import Cloud
from shared.gcp.signing import signed_url
from shared.http.bodies import exact_object
from shared.net import outbound
from shared.settings import Settings
from shared.workorders import images, stored
from shared.workorders.images import Image
from shared.workorders.record import encode, iso, timeline_line
from shared.workorders.store import Held
from shared.workorders.stored import Result

ANSWER_SECONDS = 60.0
"""How long an analyser may take; for what takes longer it answers 202."""

URL_SECONDS = 3600
"""How long it may read the photographs."""

SIGNED_AT_ONCE = 8
"""How many URLs are being signed at once: each is a call to Google."""

SIGNATURE = "X-Waybill-Signature"
"""The header by which an analyser knows us."""

PROBLEMS_TOLD = 3
"""How many of the fields that are wrong in an answer are named."""


class Away(Retry):
    """The analyser does not answer, or says that it is busy or broken; a sentence for the customer."""


def secret(settings: Settings, site: Site) -> str:
    """The secret that a site's analyser is to have: 64 hex digits, used as text.

    LookupError where no key is set. It is kept nowhere: it is made of the newest of WAYBILL_ANALYSER_KEYS,
    and is another one when there is a newer. `python -m infra add-site --analysis-url` shows it to an
    operator.
    """
    return secrets(settings, site)[0]


def secrets(settings: Settings, site: Site) -> list[str]:
    """The secrets that a site's analyser may have, of each version of WAYBILL_ANALYSER_KEYS one, the newest
    first. LookupError where no key is set."""
    keys = settings.analyser_keys
    if not keys.versions:
        raise LookupError(f"{keys.variable} is not set: an analyser's requests cannot be signed")
    newest_first = sorted(keys.versions, reverse=True)
    return [_secret(keys.versions[version], site) for version in newest_first]


def signature(secrets: list[str], at: int, body: bytes) -> str:
    """The header's value for a body sent at `at`, in seconds since 1970, to who has any of these secrets."""
    signed = b"%d.%b" % (at, body)
    each = (hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={at}", *(f"v1={digest}" for digest in each)])


def sites(db: firestore.Client, most: int) -> list[tuple[str, str]]:
    """The sites that have an analyser, at most so many: customer and id of each."""
    having = db.collection("sites").where(filter=FieldFilter("analysis_url", ">", ""))
    found = having.select(["customer"]).limit(most).stream()
    return sorted((each.get("customer"), each.id) for each in found)


def ask(cloud: Cloud, site: Site, held: Held, seconds: float) -> list[Result] | None:
    """Ask a site's analyser about a work order, in at most so many seconds; None where it will answer later.

    Away, or Retry where Google is, for another attempt; CustomerMustAct where asking again cannot help.
    """
    began = stopwatch()
    body = _body(cloud, site, held, lambda: elapsed_since(began) < seconds)
    answer = _called(cloud, site, body, min(ANSWER_SECONDS, seconds - elapsed_since(began)))
    host = urlsplit(site.analysis_url or "").hostname
    if answer.status == 202:
        return None
    if answer.status == 429 or answer.status >= 500:
        raise Away(f"{host} answered {answer.status}.")
    if answer.status != 200:
        raise CustomerMustAct(
            f"The site's analyser {host} answered {answer.status}.",
            "It must answer 200 with results, or 202 and send them later; redirects are not followed.",
        )
    try:
        found = results.parse(exact_object(answer.content))
    except Invalid as wrong:
        told = "; ".join(f"{each.field}: {each.message}" for each in wrong.problems[:PROBLEMS_TOLD])
        raise CustomerMustAct(
            f"The site's analyser {host} answered what is not as agreed: {told}.", "Fix its answer."
        ) from None
    return results.known(found, stored.input_ids(held.stored))


def _body(cloud: Cloud, site: Site, held: Held, in_time: Callable[[], bool]) -> bytes:
    def one(image: Image) -> dict[str, str]:
        if not in_time():
            raise Retry("signing the URLs of all photographs took too long")
        name = images.object_name(site.customer, site.id, image)
        url = signed_url(
            cloud,
            cloud.settings.images_bucket,
            name,
            seconds=URL_SECONDS,
            generation=image.generation,
        )
        return {"id": image.id, "url": url}

    with ThreadPoolExecutor(SIGNED_AT_ONCE) as pool:
        signed = list(pool.map(one, images.decode(held.stored.images)))
    record = timeline_line(encode(held.stored.work_order), iso(held.created), iso(held.updated)).rstrip()
    asked = {"work_order": orjson.Fragment(record), "images": signed, "parameters": held.stored.parameters}
    return orjson.dumps(asked)


def _called(cloud: Cloud, site: Site, body: bytes, seconds: float) -> outbound.Answer:
    at = unix_seconds()
    try:
        return outbound.call(
            "POST",
            site.analysis_url or "",
            allowed=networks_of(cloud.db, site.customer),
            seconds=seconds,
            bytes_most=results.ANSWER_BYTES,
            headers={
                "Content-Type": "application/json",
                SIGNATURE: signature(secrets(cloud.settings, site), at, body),
            },
            body=body,
        )
    except (outbound.Blocked, outbound.TooMuch) as refused:
        raise CustomerMustAct("The site's analyser is not called any more.", str(refused)) from None
    except outbound.Failed as failed:
        raise Away(str(failed)) from None


def _secret(key: bytes, site: Site) -> str:
    return hmac.new(key, f"analysis\n{site.id}".encode(), hashlib.sha256).hexdigest()
