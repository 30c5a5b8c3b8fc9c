"""The example analyser, asked by ours and by others."""

import hashlib
import hmac
import io
import json
from collections.abc import Iterator

import pytest
import requests
from PIL import Image as Picture

from infra.local import example_analyser
from infra.local.clock import machine_time
from shared.accounts.customers import add_site
from shared.analysis import analyser
from shared.workorders import store
from shared.workorders.store import Photograph
from tests.shared.analysis.analysers import ask
from tests.world import SITE, World

NOW = 1_800_000_000


def grey(shade: int) -> bytes:
    out = io.BytesIO()
    Picture.new("L", (640, 700), shade).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def url(world: World) -> Iterator[str]:
    server, url = example_analyser.serve(0, analyser.secret(world.cloud.settings, world.site))
    yield url
    server.shutdown()
    server.server_close()


def test_it_measures_every_photograph(world: World, url: str) -> None:
    site = add_site(
        world.cloud.db, id=SITE, customer="acme", name="North", task_groups=("meter",), analysis_url=url
    )
    photographs = [Photograph("meter", f"{shade}.png", grey(shade)) for shade in (120, 250)]
    photographs.append(Photograph("meter", "broken.png", b"\x89PNG"))
    id = store.create(world.cloud, site, "WO_1", photographs=photographs).id
    ask(world.cloud, site, id)
    world.drain()
    kept = store.look(world.cloud, site, id).stored
    assert kept.analysis == "DONE", kept.failure
    good, bright, broken = kept.work_order.work_items[0].input
    assert [(r.task_name, r.analyzed_value, r.message) for r in good.job_conformity] == [
        ("brightness", 120, None)
    ]
    assert [(r.analyzed_value, r.is_conformity_validated) for r in bright.job_conformity] == [(250, False)]
    assert broken.job_conformity == ()
    assert kept.labels[good.id]["brightness"] == {
        "confidence": 1.0,
        "labeler": "example-analyser",
    }


def test_it_finds_patches_of_one_colour() -> None:
    picture = Picture.new("RGB", (164, 120), (90, 90, 90))
    picture.paste((240, 120, 0), (16, 8, 80, 72))
    picture.paste((90, 90, 90), (48, 8, 80, 40))
    picture.paste((0, 60, 220), (112, 56, 164, 120))
    picture.paste((0, 200, 0), (0, 104, 104, 120))  # too small
    picture.paste((30, 0, 0), (80, 0, 164, 48))  # too dark
    out = io.BytesIO()
    picture.save(out, "PNG")
    brightness, objects = example_analyser.analyse("input", out.getvalue())
    assert brightness["task_name"] == "brightness"
    assert objects == {
        "input_id": "input",
        "task_name": "object",
        "analyzed_value": "blue",
        "message": None,
        "is_conformity_validated": True,
        "confidence": 1.0,
        "regions": [
            {"label": "blue", "box": [112, 56, 52, 64]},
            {"label": "orange", "box": [16, 8, 64, 64]},
        ],
        "labeler": "example-analyser",
    }


@pytest.mark.parametrize(
    ("secret", "header", "good"),
    [
        ("right", analyser.signature(["right"], NOW, b"body"), True),
        ("right", analyser.signature(["right"], NOW - 300, b"body"), True),
        ("right", analyser.signature(["right"], NOW - 301, b"body"), False),
        ("right", analyser.signature(["right"], NOW + 301, b"body"), False),
        ("right", analyser.signature(["wrong"], NOW, b"body"), False),
        ("right", analyser.signature(["right"], NOW, b"another"), False),
        ("right", analyser.signature(["right"], NOW - 1, b"body").replace(str(NOW - 1), str(NOW)), False),
        ("right", analyser.signature(["right", "older"], NOW, b"body"), True),
        ("right", analyser.signature(["newer", "right"], NOW, b"body"), True),
        ("right", analyser.signature(["newer", "older"], NOW, b"body"), False),
        ("right", analyser.signature(["right"], NOW, b"body") + ",v1=", False),
        ("right", "", False),
        ("right", f"t={NOW}", False),
    ],
)
def test_it_knows_who_asks(secret: str, header: str, good: bool) -> None:
    assert example_analyser.signed(secret, header, b"body", NOW) is good


@pytest.mark.parametrize(("secret", "status"), [("wrong", 401), (None, 200)])
def test_it_answers_nobody_else(world: World, url: str, secret: str | None, status: int) -> None:
    body = json.dumps({"images": []}).encode()
    at = int(machine_time().timestamp())
    key = secret or analyser.secret(world.cloud.settings, world.site)
    signed = hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-Waybill-Signature": f"t={at},v1={signed}"}
    answer = requests.post(url, data=body, headers=headers, timeout=10)
    assert answer.status_code == status
    assert status != 200 or answer.json() == {"results": []}


def test_a_body_is_needed(url: str) -> None:
    assert requests.post(url, timeout=10).status_code == 400
