"""Whatever way the database is away: no process dies of it, callers know at once, and nothing acknowledged is lost.

All processes are ready within five seconds of its return.
"""

import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.support.callsheet.separate_processes import Gateway, Started, apart, gateway
from tests.support.servers.outages import Away, Kind, mount_small_disk
from tests.support.servers.postgres import PostgresForTests
from tests.support.servers.tcp_proxy import open_tcp_proxy

READY_SECONDS_MAX = 5.0
"""How long after the return of the database everything may need until it is ready, on a machine with a free core.

Where others work beside the test it is stretched by how much slower than its CPU time a piece of work is.
"""
NOTICED_SECONDS_MAX = 8.0
"""How long a silent cut may go unnoticed, on a busy machine."""
ANSWER_SECONDS_MAX = 8.0
DISK_MEGABYTES = 64
GRAPH: dict[str, Any] = {"nodes": [{"id": "a", "kind": "transform", "config": {}}], "edges": []}
SHORT = (Kind.READ_ONLY, Kind.SILENT, Kind.DISK_FULL)
WRITERS = ("serve", "dev")
"""A full disk is noticed by who writes: the others can do all that they do."""
UNNOTICED = (Kind.CANCELLED,)
"""The server is there for some, and not for others: `/readyz` need not call that an outage."""


class Cluster:
    """Processes of every kind on one database, and a client of each gateway."""

    def __init__(self, away: Away, processes: dict[str, Started], gateways: list[Gateway]) -> None:
        """Create a workflow for the runs that show that everything works."""
        self.away = away
        self.processes = processes
        self.gateways = gateways
        self.workflow = gateways[0].workflow(GRAPH)
        self.created: list[tuple[str, str]] = []
        """The projects whose creation was acknowledged, with the position that said so."""

    def read_readiness(self) -> dict[str, httpx2.Response]:
        urls = {name: each.admin for name, each in self.processes.items()}
        return {name: httpx2.get(f"{url}/readyz", timeout=2) for name, url in urls.items()}

    def wait_until_unready(self, kind: Kind) -> None:
        deadline = time.monotonic() + NOTICED_SECONDS_MAX
        who = WRITERS if kind is Kind.DISK_FULL else tuple(self.processes)
        last = self.read_readiness()
        while not all(last[name].status_code == 503 and "database" in last[name].text for name in who):
            last = self.read_readiness()
            assert time.monotonic() < deadline, {name: answer.text for name, answer in last.items()}
            time.sleep(0.05)
        assert all(each.client.get("/readyz").status_code == 503 for each in self.gateways)

    def wait_until_ready(self, seconds: float) -> float:
        """Wait until every process is ready and runs are driven and read; return how long it took."""
        began_at = time.monotonic()
        last: object = None
        while time.monotonic() < began_at + seconds:
            last = {name: answer.text for name, answer in self.read_readiness().items() if answer.status_code != 200}
            if not last and all(self._completes_run(each) for each in self.gateways):
                return time.monotonic() - began_at
            time.sleep(0.05)
        raise AssertionError((last, [each.said[-5:] for each in self.processes.values()]))

    def _completes_run(self, each: Gateway) -> bool:
        answer = each.client.post(
            f"/v1/workflows/{self.workflow}:run", json={"inputs": {}}, headers={"prefer": "wait=3"}
        )
        if not answer.is_success or answer.json()["status"] != "completed":
            return False
        position = {"callsheet-min-position": answer.headers["callsheet-position"]}
        return each.client.get(f"/v1/runs/{answer.json()['id']}", headers=position).is_success

    def _write(self, each: Gateway, kind: Kind) -> httpx2.Response:
        once = {"idempotency-key": str(uuid4())}
        if kind is Kind.DISK_FULL:  # what a page has room for is still written: so write more than that
            inputs = {"text": token_hex(10_000)}
            each.client.post(f"/v1/workflows/{self.workflow}:run", json={"inputs": inputs})
        return each.client.post("/v1/projects", json={"name": "P"}, headers=once)

    @contextmanager
    def writing(self, kind: Kind) -> Generator[None]:
        """Create projects at each gateway all the time, and check every answer."""
        over, faults = Event(), list[str]()

        def write(each: Gateway) -> None:
            while not over.wait(0.05):
                began_at = time.monotonic()
                answer = self._write(each, kind)
                took = time.monotonic() - began_at
                if answer.status_code == 201:
                    self.created.append((answer.json()["id"], answer.headers["callsheet-position"]))
                elif answer.status_code != 503 or "retry-after" not in answer.headers:
                    faults.append(f"{answer.status_code} {answer.text}")
                if took > ANSWER_SECONDS_MAX:
                    faults.append(f"{answer.status_code} after {took:.1f} s")

        writers = [Thread(target=write, args=[each]) for each in self.gateways]
        for writer in writers:
            writer.start()
        try:
            yield
        finally:
            over.set()
            for writer in writers:
                writer.join()
        assert not faults, faults[:3]

    def check_refusals(self) -> None:
        """Check that a write is refused at once, now that the outage is known."""
        for each in self.gateways:
            began_at = time.monotonic()
            answer = each.client.post("/v1/projects", json={"name": "P"})
            assert answer.status_code == 503, answer.text
            assert answer.headers["retry-after"] == "1"
            assert time.monotonic() - began_at < 1, answer.text

    def check_nothing_lost(self) -> None:
        assert self.created, "nothing was acknowledged at all"
        for project, position in self.created:
            answer = self.gateways[0].client.get(
                f"/v1/projects/{project}", headers={"callsheet-min-position": position}
            )
            assert answer.is_success, answer.text

    def check_alive(self) -> None:
        for name, each in self.processes.items():
            assert each.process.poll() is None, (name, "".join(each.said)[-3_000:])


@contextmanager
def open_cluster(server: PostgresForTests, directory: Path) -> Generator[Cluster]:
    """Run every kind of process on a database that can be away."""
    with ExitStack() as stack:
        disk = stack.enter_context(mount_small_disk(DISK_MEGABYTES))
        stack.callback(server.destroy)
        proxy = stack.enter_context(open_tcp_proxy(server.socket_path))
        away = Away(server, proxy, disk)
        admin = {"CALLSHEET_ADMIN_PORT": "0"}
        commands = (("serve", "--port", "0"), ("work",), ("project",), ("dev", "--port", "0"))
        processes = {
            command[0]: stack.enter_context(apart(away.conninfo, directory, *command, **admin)) for command in commands
        }
        gateways = [stack.enter_context(gateway(processes[name], directory)) for name in ("serve", "dev")]
        yield Cluster(away, processes, gateways)


def measure_slowness() -> float:
    """Return how much longer than its CPU time a piece of work takes now: 1 on a machine with a free core."""
    began_at, cpu_began_at = time.perf_counter(), time.process_time()
    while time.process_time() < cpu_began_at + 0.02:
        pass
    return max(1.0, (time.perf_counter() - began_at) / 0.02)


def be_away(cluster: Cluster, kind: Kind, seconds: float) -> None:
    """Put an outage on while projects are created, take it off, and check all that is promised."""
    said_before = {name: len(each.said) for name, each in cluster.processes.items()}
    with cluster.writing(kind):
        with cluster.away.away(kind):
            if kind not in UNNOTICED:
                cluster.wait_until_unready(kind)
                cluster.check_refusals()
            time.sleep(seconds)
            cluster.check_alive()
        slowness = measure_slowness()
        took = cluster.wait_until_ready(READY_SECONDS_MAX * slowness + 15)
    cluster.check_alive()
    cluster.check_nothing_lost()
    bound = READY_SECONDS_MAX * slowness
    assert took <= bound, f"{kind}: ready only {took:.1f} s after the return, allowed {bound:.1f}"
    if kind not in UNNOTICED:
        for name in WRITERS if kind is Kind.DISK_FULL else cluster.processes:
            said = "".join(cluster.processes[name].said[said_before[name] :])
            assert '"database.away"' in said or '"log.connection_lost"' in said, (name, said)
            assert '"away_seconds"' in said, (name, said)


def test_no_outage_ends_a_process_and_all_are_ready_within_five_seconds(tmp_path: Path) -> None:
    with open_cluster(PostgresForTests(18), tmp_path) as cluster:
        cluster.wait_until_ready(60)
        for kind in SHORT:
            if kind is not Kind.DISK_FULL or cluster.away.has_disk:
                be_away(cluster, kind, seconds=0.5)


@pytest.mark.long
@pytest.mark.parametrize("seconds", [1, 150])
@pytest.mark.parametrize("kind", Kind)
def test_no_outage_of_any_length_ends_a_process(kind: Kind, seconds: float, tmp_path: Path) -> None:
    with open_cluster(PostgresForTests(18), tmp_path) as cluster:
        if kind is Kind.DISK_FULL and not cluster.away.has_disk:
            pytest.skip("this user may not mount a small file system")
        cluster.wait_until_ready(60)
        be_away(cluster, kind, seconds)
