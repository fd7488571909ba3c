"""Verbs in paths (`/v1/workflows/{workflowId}:run`), which Litestar's router cannot tell from ids by itself.

Routes are declared with the verb as a segment of its own (`…/{workflowId:str}/:run`), requests are rewritten to that
form before they are routed, and documents show the form that callers use.
"""

from typing import Any

from litestar.config.app import AppConfig
from litestar.plugins import InitPluginProtocol
from litestar.plugins.base import ReceiveRoutePlugin
from litestar.routes import BaseRoute


def routed(path: str) -> str:
    """Give the path by which a request is routed: `…/X:verb` becomes `…/X/:verb`."""
    start = path.rfind("/") + 1
    colon = path.find(":", start)
    if colon < 0:
        return path
    # A caller who writes the routed form itself has to miss.
    return f"{path[:start]}:{path[start:]}" if colon == start else f"{path[:colon]}/{path[colon:]}"


class VerbPaths(InitPluginProtocol, ReceiveRoutePlugin):
    """Shows paths as callers write them, in the OpenAPI document and in `path_template`."""

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Change nothing: only plugins of this kind are given the routes that the app begins with."""
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Write a route's path as callers do."""
        shown: Any = route
        shown.path_format = route.path_format.replace("/:", ":")
