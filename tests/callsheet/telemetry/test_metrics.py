"""`/metrics` of real processes: what each part did is counted once, lag is seen from anywhere, labels are few."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from callsheet.telemetry.fact_metrics import MODELS_MAX, FactTally
from callsheet.telemetry.metrics import Metrics
from domain.payload import Payload
from domain.runs.facts import StepCompleted, Usage
from tests.support.callsheet.separate_processes import Started, apart, gateway
from tests.support.projections.given import NOW, new_id, number_facts
from tests.support.servers.postgres import PostgresForTests
from tests.support.store.given import WORKSPACE
from tests.support.waiting import eventually

ADMIN = {"CALLSHEET_ADMIN_PORT": "0"}
LINE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
GRAPH: dict[str, Any] = {
    "nodes": [
        {"id": "words", "kind": "prompt", "config": {"model": "scripted/words", "template": "Say {{ inputs.n }}"}},
        {"id": "twice", "kind": "transform", "config": {}},
        {"id": "never", "kind": "transform", "config": {}},
    ],
    "edges": [{"from": "words", "to": "twice"}, {"from": "words", "to": "never", "when": "inputs.n > 5"}],
}


def values(page: str) -> dict[str, float]:
    """Return the value of each sample by its name and labels, as written."""
    found = (LINE.match(line) for line in page.splitlines() if not line.startswith("#"))
    return {f"{sample['name']}{{{sample['labels'] or ''}}}": float(sample["value"]) for sample in found if sample}


def scrape_metrics(url: str | None) -> dict[str, float]:
    answer = httpx2.get(f"{url}/metrics", timeout=30).raise_for_status()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return values(answer.text)


def run_once(serving: Started, directory: Path) -> None:
    with gateway(serving, directory) as here:
        run = here.post(f"/v1/workflows/{here.workflow(GRAPH)}:run", {"inputs": {"n": 1}}, prefer="wait=30")
        assert run["status"] == "completed"
        here.run(run["id"], here.position)
        assert here.client.get("/v1/runs/run_nothing").status_code == 404
        assert here.client.get("/nowhere").status_code == 404


def test_each_process_counts_what_it_did_and_all_see_the_lag(database: str, tmp_path: Path) -> None:
    with (
        apart(database, tmp_path, "serve", "--port", "0", **ADMIN) as serving,
        apart(database, tmp_path, "work", **ADMIN) as working,
        apart(database, tmp_path, "project", **ADMIN) as projecting,
    ):
        run_once(serving, tmp_path)
        gateway_page, engine_page, worker_page = (
            scrape_metrics(serving.admin),
            scrape_metrics(working.admin),
            scrape_metrics(projecting.admin),
        )
    assert gateway_page['callsheet_up{part="gateway"}'] == 1
    assert [page["callsheet_database_up{}"] for page in (gateway_page, engine_page, worker_page)] == [1, 1, 1]
    # What the gateway did, by the template of the route and never by an id.
    route = 'callsheet_http_requests_total{method="POST",route="/v1/workflows/{workflowId}:run",status="200"}'
    assert gateway_page[route] == 1
    assert gateway_page['callsheet_http_requests_total{method="GET",route="/v1/runs/{runId}",status="404"}'] == 1
    assert gateway_page['callsheet_http_requests_total{method="GET",route="none",status="404"}'] == 1
    assert gateway_page['callsheet_facts_total{topic="run.started"}'] == 1
    assert not re.search("_[0-9a-z]{26}", "".join([*gateway_page, *engine_page, *worker_page]))
    # What the engine did.
    assert engine_page['callsheet_engine_steps_total{kind="prompt",outcome="completed"}'] == 1
    assert engine_page['callsheet_engine_steps_total{kind="transform",outcome="completed"}'] == 1
    assert engine_page['callsheet_engine_steps_total{kind="transform",outcome="skipped"}'] == 1
    assert engine_page['callsheet_facts_total{topic="run.completed"}'] == 1
    assert 'callsheet_facts_total{topic="run.started"}' not in engine_page
    assert engine_page['callsheet_model_tokens_total{direction="output",model="scripted/words"}'] > 0
    assert engine_page["callsheet_engine_runs_active{}"] == 0
    assert engine_page["callsheet_append_duration_seconds_count{}"] > 0
    # What the worker did, and where it stands: seen from every process.
    assert worker_page['callsheet_projection_batch_facts_sum{projection="runs"}'] >= 4
    assert worker_page['callsheet_projection_apply_duration_seconds_count{projection="runs"}'] > 0
    assert worker_page['callsheet_projection_here{projection="runs"}'] == 1
    assert engine_page['callsheet_projection_here{projection="runs"}'] == 0
    for page in (gateway_page, engine_page, worker_page):
        assert page['callsheet_projection_followed{projection="runs"}'] == 1
        assert page['callsheet_projection_parked{projection="runs"}'] == 0
        assert page['callsheet_projection_lag_events{projection="runs"}'] <= page["callsheet_log_head{}"]


def test_the_lag_of_a_projection_that_nobody_moves_is_seen(database: str, tmp_path: Path) -> None:
    with apart(database, tmp_path, "serve", "--port", "0", **ADMIN) as serving:
        with gateway(serving, tmp_path) as here:
            here.post("/v1/projects", {"name": "Launch"})
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("insert into checkpoints (projection, position) values ('projects', 0)")
            connection.execute("update events set recorded_at = now() - interval '1 hour'")
        page = scrape_metrics(serving.admin)
    assert page['callsheet_projection_lag_events{projection="projects"}'] == 1
    assert 3_600 <= page['callsheet_projection_lag_seconds{projection="projects"}'] < 3_700
    assert page['callsheet_projection_followed{projection="projects"}'] == 0


def test_the_admin_port_tells_health_and_nothing_else(database: str, tmp_path: Path) -> None:
    with apart(database, tmp_path, "work", **ADMIN) as working:
        answers = {path: httpx2.get(f"{working.admin}{path}") for path in ("/healthz", "/readyz", "/v1/projects")}
    assert answers["/healthz"].json() == {"status": "ok"}
    assert answers["/readyz"].json() == {"status": "ready"}
    assert answers["/v1/projects"].status_code == 404


def test_no_admin_port_is_opened_unless_it_is_asked_for(database: str, tmp_path: Path) -> None:
    with apart(database, tmp_path, "work") as working:
        assert working.admin is None


def build_completion(model: str, number: int) -> StepCompleted:
    usage = Usage(model=model, input_tokens=2, output_tokens=3, latency_ms=1.0, cost_usd="0.10")
    return StepCompleted(node="n", attempt=number, output=Payload(), usage=usage, completed_at=NOW)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def test_models_past_a_bound_are_counted_together(metrics: Metrics) -> None:
    tally, run = FactTally(), new_id()
    tally.register(metrics)
    tally.count_batch(
        number_facts([(run, build_completion(f"openai/{number}", number)) for number in range(MODELS_MAX + 10)])
    )
    page = values(metrics.page().decode())
    tokens = {name: value for name, value in page.items() if name.startswith("callsheet_model_tokens_total")}
    assert len(tokens) == 2 * (MODELS_MAX + 1)
    assert tokens['callsheet_model_tokens_total{direction="input",model="other"}'] == 20
    assert page['callsheet_model_cost_usd_total{model="other"}'] == pytest.approx(1.0)
    assert page['callsheet_facts_total{topic="step.completed"}'] == MODELS_MAX + 10
    assert str(WORKSPACE) not in metrics.page().decode()


def test_without_a_database_the_page_says_so_and_gives_the_rest(own_postgres: PostgresForTests, tmp_path: Path) -> None:
    database = own_postgres.lend_database(migrated=True)
    with apart(database, tmp_path, "work", **ADMIN) as working:
        assert scrape_metrics(working.admin)["callsheet_database_up{}"] == 1
        own_postgres.crash()
        asyncio.run(eventually(lambda: _is_down(working), what="the page says that the database is away", seconds=60))
        page = scrape_metrics(working.admin)
        assert page['callsheet_up{part="engine"}'] == 1
        assert not any(name.startswith("callsheet_projection_lag") for name in page)
        assert httpx2.get(f"{working.admin}/readyz", timeout=30).status_code == 503
        own_postgres.start()


async def _is_down(working: Started) -> bool:
    page = await asyncio.to_thread(scrape_metrics, working.admin)
    return page["callsheet_database_up{}"] == 0
