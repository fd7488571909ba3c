"""The demo as a real process: every example runs to its end, and says so."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from callsheet.demo.website import ANSWER, start_website

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.long
def test_every_example_runs_to_its_end(tmp_path: Path) -> None:
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("OPENAI", "ANTHROPIC", "DATA"))
    }
    told = subprocess.run(
        [sys.executable, "-m", "callsheet", "demo", "--all", "--json"],
        env={**environ, "CALLSHEET_DATA_DIRECTORY": str(tmp_path)},
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, told.stderr
    examples = json.loads(told.stdout)["examples"]
    assert set(examples) == {path.stem for path in EXAMPLES.glob("*.json")}
    assert {example["run"]["status"] for example in examples.values()} == {"completed"}
    steps = examples["publishing-approval"]["run"]["steps"]
    assert steps["announce"]["output"]["body"] == {"received": True}
    assert steps["by_hand"]["status"] == "skipped"


async def test_the_website_of_the_demo_reads_a_request_to_its_end_before_it_answers() -> None:
    async with start_website() as place:
        host, port = place.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /hooks HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await writer.drain()
        answer = asyncio.create_task(reader.read())
        late, _ = await asyncio.wait({answer}, timeout=0.2)  # closed with a body unread, the connection is reset
        assert not late
        writer.write(b"hello")
        await writer.drain()
        assert (await answer).endswith(ANSWER)
        writer.close()
