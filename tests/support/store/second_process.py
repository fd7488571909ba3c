"""Another process that appends to the same log: `python -m tests.support.store.second_process CONNINFO COMMANDS`.

Prints the position of each of its commands, in the order of its acknowledgements.
"""

import asyncio
import sys
from uuid import uuid4

from tests.support.store.given import create_append, open_log, require_accepted


async def main(conninfo: str, commands: int) -> None:
    """Append, always with several commands under way."""
    async with open_log(conninfo) as log:

        async def append_project() -> None:
            print(require_accepted(await log.append(create_append(uuid4(), 0))).position, flush=True)  # noqa: T201  # our answer

        for _ in range(0, commands, 8):
            await asyncio.gather(*(append_project() for _ in range(8)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
