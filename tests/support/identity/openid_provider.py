"""A real OpenID provider (npm `oidc-provider`) as a process of its own: it can be killed, and started again."""

import socket
import subprocess
from pathlib import Path
from typing import Final, Self
from uuid import UUID

import httpx2

from domain.ids import from_uuid
from gateway.identity.issuers import Algorithm, Issuer
from tests.support.servers.node import NODE, install_node_packages

FOLDER: Final = Path(__file__).parent / "provider"
AUDIENCE: Final = "https://callsheet.test"
CLIENT: Final = ("robot", "secret")


class OpenIdProvider:
    """`with OpenIdProvider(workspace_id) as provider`: then `provider.issuer`, and tokens for the client `robot`."""

    def __init__(self, workspace_id: UUID) -> None:
        """Choose a free port; a provider that is started again has the same one."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._workspace = from_uuid("ws", workspace_id)
        self._process: subprocess.Popen[str] | None = None

    def trust(self, *algorithms: Algorithm) -> Issuer:
        """Return the settings of this issuer."""
        return Issuer(issuer=self.url, audience=AUDIENCE, algorithms=algorithms or tuple(Algorithm))

    def __enter__(self) -> Self:
        install_node_packages(FOLDER)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the provider, with new keys, and wait until it serves."""
        command = [NODE, FOLDER / "provider.mjs", str(self.port), self._workspace]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout is not None
        while "ready" not in self._process.stdout.readline():
            assert self._process.poll() is None, "the OpenID provider ended before it served"

    def kill(self) -> None:
        """Kill the provider, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def pause(self, signal: int) -> None:
        """Send SIGSTOP or SIGCONT: a stopped provider accepts connections and never answers."""
        assert self._process is not None
        self._process.send_signal(signal)

    async def fetch_token(self, algorithm: Algorithm) -> str:
        """Return an access token by client credentials, signed with an algorithm."""
        async with httpx2.AsyncClient() as client:
            answer = await client.post(
                f"{self.url}/token",
                auth=CLIENT,
                data={"grant_type": "client_credentials", "resource": f"{AUDIENCE}/{algorithm}"},
            )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def rotate_keys(self) -> None:
        """Replace the keys of the provider; the old ones are no longer published."""
        async with httpx2.AsyncClient() as client:
            await client.post(f"{self.url}/rotate")
