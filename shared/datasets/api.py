"""`/v2` over HTTP."""

from shared.datasets.caller import SURFACE
from shared.http.routes import Routes

ROUTES = Routes(SURFACE, [])
