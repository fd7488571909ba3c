"""The page of routes names every route that there is, and no other."""

import re
from pathlib import Path

from tests.support.gateway.given import Caller

PAGE = Path(__file__).parents[2] / "docs" / "routes.md"
ROW = re.compile(r"^\| `([A-Z]+ /[^`]*)` \| ", re.MULTILINE)


async def test_every_route_is_on_the_page_once(ada: Caller) -> None:
    paths = (await ada.client.get("/v1/openapi.json")).json()["paths"]
    served = [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]
    assert sorted(ROW.findall(PAGE.read_text())) == sorted(served)
