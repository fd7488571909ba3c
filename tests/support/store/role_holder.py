"""A process that holds a role and moves a row: `python -m tests.support.store.role_holder CONNINFO HUNG_SECONDS`.

It prints `holding` whenever it acquires the role. For each line of its input it executes one statement over the
connection that holds the role, and prints the number of rows, or `refused`; then it stands by for the role again.
"""

import asyncio
import sys
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection

from store.errors import DatabaseAway
from store.postgres.exclusive import ExclusiveRole, Progress, RoleBounds
from store.retrying import BackOff, BackOffBounds, Retrying

LOCK: Final = 1886547818
ROLE_NAME: Final = "runs"
READ_PROGRESS: Final = "select position, head from progress"


async def read_progress(connection: AsyncConnection[Any]) -> Progress:
    """Return how far the row of the role has come."""
    cursor = await connection.execute(READ_PROGRESS)
    ((position, head),) = await cursor.fetchall()
    return Progress(position, head)


def print_line(text: str) -> None:
    """Write a line for the test."""
    print(text, flush=True)  # noqa: T201  # the protocol with the test


async def execute_input(connection: AsyncConnection[Any]) -> None:
    """Execute each line of the input. Raises psycopg.Error when one is refused."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            cursor = await connection.execute(line.encode())
        except psycopg.Error:
            print_line("refused")
            raise
        print_line(str(cursor.rowcount))


async def main(conninfo: str, hung_seconds: float) -> None:
    """Hold the role until the input ends."""
    role = ExclusiveRole(LOCK, ROLE_NAME, RoleBounds(standby_seconds=0.05, hung_seconds=hung_seconds))
    back_off = BackOff(BackOffBounds(first_seconds=0.02))
    async for attempt in Retrying(DatabaseAway, back_off=back_off):
        with attempt:
            async with role.hold(
                conninfo, read_progress, lambda session, _position: print_line(f"ended {session}")
            ) as held:
                print_line("holding")
                await execute_input(held)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
