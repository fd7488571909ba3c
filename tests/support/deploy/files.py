"""Files of deploy/, read as Docker and Kubernetes read them."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final, cast

import yaml
from msgspec import Struct

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([-?+])([^}]*))?\}")
Document = dict[str, Any]


def load_compose() -> Document:
    """Return the compose file, with its YAML anchors resolved and its variables as they are written."""
    return cast("Document", yaml.safe_load((DEPLOY / "compose.yaml").read_text()))


def substitute(text: str, variables: dict[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `${NAME:+other}` as Docker Compose does."""

    def replace(found: re.Match[str]) -> str:
        name, kind, argument = found.groups()
        value = variables.get(name, "")
        if kind == "+":
            return argument if value else ""
        assert kind != "?" or value, f"{name}: {argument}"
        return value or (argument if kind == "-" else "")

    return VARIABLE.sub(replace, text)


def load_manifests() -> list[Document]:
    """Return every document of deploy/kubernetes, the example of its secret too."""
    paths = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    loaded = [document for path in paths for document in yaml.safe_load_all(path.read_text())]
    return cast("list[Document]", loaded)


class Image(Struct, frozen=True, kw_only=True):
    """Properties of the image that the Dockerfile builds."""

    bases: list[str]
    environment: dict[str, str]
    health_check: list[str]
    entrypoint: list[str]
    command: list[str]


def load_image() -> Image:
    """Read deploy/Dockerfile."""
    lines = re.sub(r"#.*", "", (DEPLOY / "Dockerfile").read_text()).replace("\\\n", " ").splitlines()
    said = [(verb, argument.strip()) for line in lines if line.strip() for verb, _, argument in [line.partition(" ")]]
    last = dict(said)
    return Image(
        bases=[argument.split()[0] for verb, argument in said if verb == "FROM"],
        environment=dict(pair.split("=", 1) for pair in shlex.split(last["ENV"])),
        health_check=json.loads(last["HEALTHCHECK"].partition("CMD ")[2]),
        entrypoint=json.loads(last["ENTRYPOINT"]),
        command=json.loads(last["CMD"]),
    )
