"""`/ls/api` over HTTP: its routes."""

from shared.http.routes import Routes
from shared.jobs.caller import SURFACE
from shared.jobs.tokens_api import TOKEN_ROUTES

ROUTES = Routes(SURFACE, [*TOKEN_ROUTES])
