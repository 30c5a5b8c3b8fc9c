"""Whose body is read, before anybody is known."""

import flask
import pytest

from shared.errors import TooMany, TooSlow
from shared.http.sent import LATE, of_the_unknown
from tests.world import environ


def login(address: str) -> flask.Request:
    return flask.Request(environ("/", headers=[("X-Forwarded-For", f"{address},192.0.2.1")]))


def test_an_address_whose_bodies_do_not_arrive_is_slowed_and_no_other() -> None:
    for _ in range(int(LATE.burst)):
        with pytest.raises(TooSlow), of_the_unknown(login("203.0.113.7")):
            raise TooSlow
    with (
        pytest.raises(TooMany, match="did not arrive"),
        of_the_unknown(login("203.0.113.7")),
    ):
        pass
    with of_the_unknown(login("203.0.113.8")):
        pass
