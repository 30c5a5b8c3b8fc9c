"""The suite's own HTTP interface, under /_suite/: clock, ticks, journal, faults, suppressions, customers, and
what is outstanding."""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from aiohttp import web

from infra.local.project import make_customer_account, make_customer_bucket, trigger_topic
from infra.local.pubsub import Delivery
from infra.local.sendgrid import LISTS
from infra.local.traffic import Action, Fault

if TYPE_CHECKING:
    from infra.local.suite import Suite

_Handler = Callable[[web.Request], Awaitable[Any]]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
"""https://cloud.google.com/storage/docs/buckets#naming"""

_FAULT_FIELDS = {
    "kind": str,
    "action": str,
    "status": int,
    "seconds": (int, float),
    "message": str,
    "reason": str,
    "nth": int,
    "times": int,
    "resource": str,
}

_FAULT = ("action", "status", "seconds", "message", "reason")


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def routes(suite: "Suite") -> list[web.RouteDef]:
    """The routes to add to the suite's HTTP application; infra/local/README.md lists them."""
    control = _Control(suite)
    return [
        web.get("/_suite/clock", _answering(control.clock)),
        web.put("/_suite/clock", _answering(control.set_clock)),
        web.post("/_suite/tick", _answering(control.tick)),
        web.get("/_suite/calls", _answering(control.calls)),
        web.post("/_suite/faults", _answering(control.arm)),
        web.delete("/_suite/faults", _answering(control.disarm)),
        web.get("/_suite/outstanding", _answering(control.outstanding)),
        web.put("/_suite/customers", _answering(control.onboard)),
        web.put("/_suite/suppressions", _answering(control.suppress)),
        web.delete("/_suite/suppressions", _answering(control.forgive)),
        web.post("/_suite/push/{function}", _answering(control.push)),
    ]


class _Control:
    def __init__(self, suite: "Suite") -> None:
        self._suite = suite

    async def clock(self, _: web.Request) -> Any:
        return {"now": self._suite.clock.now()}

    async def set_clock(self, request: web.Request) -> Any:
        at = _time(await _body(request, {"now": str}), "now")
        if at is None:
            raise _Refused(400, "now: say which time the clock is set to")
        return {"now": _never_back(self._suite.move_clock, at)}

    async def tick(self, request: web.Request) -> Any:
        at = _time(await _body(request, {"at": str}), "at")
        if at is not None:
            _never_back(self._suite.move_clock, at)
        await asyncio.to_thread(self._suite.tick)
        return {"now": self._suite.clock.now()}

    async def calls(self, request: web.Request) -> Any:
        kind, resource = request.query.get("kind", ""), request.query.get("resource", "")
        return {"calls": [asdict(call) for call in self._suite.traffic.calls(kind, resource)]}

    async def arm(self, request: web.Request) -> Any:
        asked = await _body(request, _FAULT_FIELDS)
        if not asked.get("kind"):
            raise _Refused(400, "kind: name the calls that suffer the fault, such as pubsub.Publish")
        if asked.get("action") not in get_args(Action):
            raise _Refused(400, f"action: one of {', '.join(get_args(Action))}")
        for count in ("nth", "times"):
            if asked.get(count, 1) < 1:
                raise _Refused(400, f"{count}: at least 1")
        fault = Fault(**{key: asked.pop(key) for key in _FAULT if key in asked})
        self._suite.traffic.arm(asked.pop("kind"), fault, **asked)
        return {}

    async def disarm(self, _: web.Request) -> Any:
        self._suite.traffic.disarm()
        return {}

    async def outstanding(self, _: web.Request) -> Any:
        pubsub = self._suite.pubsub
        held = [{"topic": letter.topic, "message_id": letter.message_id} for letter in pubsub.held()]
        return {"outstanding": [asdict(each) for each in pubsub.outstanding()], "undelivered": held}

    async def onboard(self, request: web.Request) -> Any:
        """What Terraform and a customer's own people do for a customer: docs/operators/deploying.md."""
        asked = await _body(request, {"id": str, "slug": str, "bucket": str})
        for field in ("id", "slug", "bucket"):
            if not asked.get(field):
                raise _Refused(400, f"{field}: missing")
        if "/" in asked["id"]:
            raise _Refused(400, f"id: {asked['id']!r} must not hold a slash")
        if not _BUCKET.fullmatch(asked["bucket"]):
            raise _Refused(
                400,
                "bucket: 3 to 63 lower-case letters, digits and -, _, or dots; no gs:// and no prefix",
            )
        return await asyncio.to_thread(self._onboard, asked["id"], asked["slug"], asked["bucket"])

    def _onboard(self, id: str, slug: str, bucket: str) -> Any:
        if bucket in {f"{self._suite.project}-{each.name}" for each in self._suite.bundle.buckets.values()}:
            raise _Refused(409, f"bucket: {bucket} is one of ours")
        try:
            account = make_customer_account(self._suite, id, slug)
        except ValueError as error:
            raise _Refused(400, f"slug: {error}") from error
        make_customer_bucket(self._suite, bucket, account, open_to_all=True)
        return {"account": account, "bucket": bucket}

    async def suppress(self, request: web.Request) -> Any:
        self._suite.sendgrid.suppress(*await _suppression(request))
        return {}

    async def forgive(self, request: web.Request) -> Any:
        self._suite.sendgrid.forgive(*await _suppression(request))
        return {}

    async def push(self, request: web.Request) -> Any:
        """What a Pub/Sub of the user's own pushes; the function gets it as Eventarc would bring it.

        https://cloud.google.com/pubsub/docs/push#receive_push
        """
        function = self._suite.bundle.functions.get(request.match_info["function"])
        topic = trigger_topic(function, self._suite.project) if function is not None else None
        if function is None or topic is None:
            raise _Refused(404, "no function of that name gets events")
        pushed = await request.json()
        message = pushed["message"]
        delivery = Delivery(
            subscription=pushed["subscription"],
            topic=topic,
            message_id=message["messageId"],
            data=base64.b64decode(message.get("data", "")),
            attributes=message.get("attributes", {}),
            publish_time=datetime.fromisoformat(message["publishTime"]),
            attempt=pushed.get("deliveryAttempt", 1),
        )
        try:
            acknowledged = await asyncio.to_thread(self._suite.push, delivery)
        except Exception as error:
            raise _Refused(502, f"{function.name}: {error}") from error
        if not acknowledged:
            raise _Refused(502, f"{function.name} did not acknowledge")
        return {}


def _answering(handler: _Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        try:
            return _json(200, await handler(request))
        except _Refused as refused:
            return _json(refused.status, {"error": {"code": refused.status, "message": str(refused)}})

    return answer


def _json(status: int, content: Any) -> web.Response:
    text = json.dumps(content, default=lambda value: value.isoformat())
    return web.Response(status=status, text=text, content_type="application/json")


async def _body(request: web.Request, kinds: dict[str, Any]) -> dict[str, Any]:
    """The request's JSON object, of these fields and no others; nothing sent counts as an empty one."""
    sent = await request.text()
    try:
        body = json.loads(sent) if sent else {}
    except ValueError as error:
        raise _Refused(400, f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise _Refused(400, "the body is no JSON object")
    for key, value in body.items():
        if key not in kinds:
            raise _Refused(400, f"{key}: unknown; there is {', '.join(kinds)}")
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            raise _Refused(400, f"{key}: {value!r} is of the wrong type")
    return body


async def _suppression(request: web.Request) -> tuple[str, str]:
    asked = await _body(request, {"address": str, "list": str})
    if not asked.get("address"):
        raise _Refused(400, "address: say whose")
    if asked.get("list") not in LISTS:
        raise _Refused(400, f"list: one of {', '.join(LISTS)}")
    return asked["address"], asked["list"]


def _time(body: dict[str, Any], key: str) -> datetime | None:
    if key not in body:
        return None
    try:
        at = datetime.fromisoformat(body[key])
    except ValueError as error:
        raise _Refused(400, f"{key}: {body[key]!r} is no time like 2026-11-23T02:00:00Z") from error
    if at.tzinfo is None:
        raise _Refused(400, f"{key}: {body[key]!r} lacks its zone, such as Z")
    return at


def _never_back(move: Callable[[datetime], datetime], at: datetime) -> datetime:
    try:
        return move(at)
    except ValueError as error:
        raise _Refused(409, str(error)) from error
