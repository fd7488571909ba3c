"""The examples: accepted as they are, every kind of node among them, each in the list, each run to its end."""

from typing import Any, get_args

import pytest

from domain.expressions.jmespath_queries import compile_query
from domain.expressions.liquid_templates import compile_template
from domain.graphs.graph import Graph, Node
from domain.graphs.validation.check import check_graph
from domain.graphs.validation.semantics import KnownReferences
from domain.ids import from_uuid, to_uuid
from tests.support.examples.player import FOLDER, Json, play_example, read_example, replace_names
from tests.support.examples.webhook import serve_webhook
from tests.support.gateway.given import Caller, new_id

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


def create_ids(told: Json) -> dict[str, str]:
    """Return a new id for everything that an example creates."""
    assets = {f"asset:{asset['name']}": from_uuid("ast", new_id()) for asset in told["assets"]}
    return assets | {f"workflow:{name}": from_uuid("wf", new_id()) for name in told.get("sub_workflows", {})}


def check_graphs(name: str) -> list[Graph]:
    """Validate and return the graphs of an example and of its sub-workflows."""
    told = read_example(name)
    ids = create_ids(told)
    known = KnownReferences(
        assets={to_uuid("ast", ids[f"asset:{asset['name']}"]): asset["type"] for asset in told["assets"]},
        workflows=frozenset(to_uuid("wf", made) for made in ids.values() if made.startswith("wf_")),
    )
    workflows = [*told.get("sub_workflows", {}).values(), told["workflow"]]
    return [
        check_graph({name: sent[name] for name in ("nodes", "edges", "input_schema") if name in sent}, known)
        for sent in (replace_names(workflow, ids) for workflow in workflows)
    ]


def apply_query(value: object, query: str) -> Any:  # noqa: ANN401  # JSON
    return compile_query(query).apply(value)


@pytest.mark.parametrize("name", NAMES)
def test_the_graphs_of_an_example_are_accepted(name: str) -> None:
    assert check_graphs(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_texts_of_prompt_assets_are_templates(name: str) -> None:
    for asset in read_example(name)["assets"]:
        assert asset["type"] == "prompt"
        compile_template(asset["content"])


def test_the_examples_use_every_kind_of_node() -> None:
    used = {node.__struct_config__.tag for name in NAMES for graph in check_graphs(name) for node in graph.nodes}
    assert used == {kind.__struct_config__.tag for kind in get_args(Node)}


def test_every_example_is_listed() -> None:
    page = (FOLDER / "README.md").read_text()
    assert [name for name in NAMES if f"[`{name}.json`]({name}.json)" not in page] == []


async def test_a_newsletter_is_written_and_sent(ada: Caller) -> None:
    run = await play_example(ada, read_example("newsletter"))
    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["outbox"]["subject"] == "A boat every forty minutes"
    assert run["outputs"]["outbox"]["sections"] == run["steps"]["issue"]["output"]["sections"]
    assert run["steps"]["plain_issue"]["status"] == "skipped"


async def test_a_newsletter_that_the_model_cannot_write_becomes_a_list_of_links(ada: Caller) -> None:
    told = read_example("newsletter")
    stories = [{"title": story["title"], "url": story["url"]} for story in told["inputs"]["stories"]]
    run = await play_example(ada, told, told["inputs"] | {"stories": stories})
    assert run["status"] == "completed", run["error"]
    assert run["steps"]["issue"]["error"]["error_class"] == "expression"
    assert apply_query(run, "outputs.outbox.sections[].text") == [story["url"] for story in stories]
    assert run["outputs"]["outbox"]["written_by_hand"] is True


async def test_a_newsletter_that_is_dropped_gives_nothing(ada: Caller) -> None:
    run = await play_example(ada, read_example("newsletter") | {"review": {"outcome": "drop"}})
    assert (run["status"], run["outputs"]) == ("completed", {})


async def test_a_launch_is_planned_and_approved(ada: Caller) -> None:
    run = await play_example(ada, read_example("product-launch"))
    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["launch_kit"]["reviewer_said"] == read_example("product-launch")["review"]["comment"]


async def test_an_article_that_is_held_is_not_published(ada: Caller) -> None:
    told = read_example("publishing-approval") | {"review": {"outcome": "hold", "comment": "Not this week."}}
    run = await play_example(ada, told)
    assert run["outputs"] == {"held": {"slug": "the-lamp-that-waits", "held": True, "because": "Not this week."}}


async def test_a_text_is_localised_for_every_market_in_order(ada: Caller) -> None:
    told = read_example("localisation")
    run = await play_example(ada, told)
    assert run["status"] == "completed", run["error"]
    sheet = run["outputs"]["sheet"]
    assert [market["language"] for market in sheet["markets"]] == apply_query(told, "inputs.markets[].language")
    assert sheet["missing"] == 0
    assert all("[scripted]" in market["text"] for market in sheet["markets"])


async def test_one_market_may_fail_and_the_others_are_localised(ada: Caller) -> None:
    told = read_example("localisation")
    markets = [*told["inputs"]["markets"], {"language": "Finnish", "terms": [{"en": "noon"}]}]
    run = await play_example(ada, told, told["inputs"] | {"markets": markets})
    assert run["status"] == "completed", run["error"]
    assert len(run["outputs"]["sheet"]["markets"]) == len(markets) - 1
    assert run["outputs"]["sheet"]["missing"] == 1
    assert run["steps"]["markets"]["output"][-1]["error"]["error_class"] == "expression"


async def test_two_markets_that_fail_are_too_many(ada: Caller) -> None:
    told = read_example("localisation")
    run = await play_example(ada, told, told["inputs"] | {"markets": [{"language": "Finnish", "terms": [{}]}] * 2})
    assert run["status"] == "failed"
    assert (run["error"]["node"], run["error"]["error_class"]) == ("markets", "child_failed")


async def test_a_digest_is_made_of_two_runs_of_one_workflow(ada: Caller) -> None:
    run = await play_example(ada, read_example("research-digest"))
    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["report"]["checked"] == "accept"
    pro, contra = (run["steps"][node]["output"]["note"]["question"] for node in ("pro", "contra"))
    assert pro.startswith("What speaks for")
    assert contra.startswith("What speaks against")


async def test_an_approved_article_is_published_at_its_hour(ada: Caller) -> None:
    told = read_example("publishing-approval")
    async with serve_webhook() as hook:
        run = await play_example(ada, told, told["inputs"] | {"webhook_url": hook.url})
    assert run["status"] == "completed", run["error"]
    assert run["outputs"] == {"published": {"slug": "the-lamp-that-waits", "answer": 200}}
    assert hook.sent == [
        {
            "slug": "the-lamp-that-waits",
            "title": "The lamp that waits for dusk",
            "teaser": told["review"]["data"]["teaser"],
        }
    ]


async def test_an_article_that_the_website_refuses_is_published_by_hand(ada: Caller) -> None:
    told = read_example("publishing-approval")
    async with serve_webhook("400 Bad Request") as hook:
        run = await play_example(ada, told, told["inputs"] | {"webhook_url": hook.url})
    assert run["status"] == "completed", run["error"]
    assert run["outputs"] == {"by_hand": {"slug": "the-lamp-that-waits", "publish_by_hand": True}}


async def test_an_article_that_nobody_looks_at_is_held(ada: Caller) -> None:
    told = read_example("publishing-approval")
    approval = next(node for node in told["workflow"]["nodes"] if node["id"] == "approval")
    approval["config"]["deadline"]["after_seconds"] = 0.05
    run = await play_example(ada, {field: value for field, value in told.items() if field != "review"})
    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["held"]["held"] is True


async def test_a_book_is_translated_part_by_part(ada: Caller) -> None:
    told = read_example("book-translation")
    run = await play_example(ada, told)
    assert run["status"] == "completed", run["error"]
    book = run["outputs"]["book"]
    assert book.startswith("# The lamp keeper (German)\n\n[scripted]")
    assert len(run["steps"]["translated"]["output"]) == len(told["inputs"]["text"].split("\n\n"))
    assert run["metrics"]["model_calls"] == 1 + 3 * 3
    path = f"/v1/workflows/{run['workflow_id']}:run"
    assert (await ada.post(path, {"inputs": {"title": "x"}})).json()["code"] == "inputs_unacceptable"


async def test_a_report_is_planned_approved_and_written_in_rounds(ada: Caller) -> None:
    told = read_example("research-report")
    run = await play_example(ada, told)
    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["report"].startswith("# Street lamps that wait\n\n[scripted]")
    assert run["outputs"]["report"].count("\n## ") == 3
    held = await play_example(ada, told | {"review": {"outcome": "reject"}})
    assert (held["status"], held["outputs"]) == ("completed", {})


async def test_an_order_waits_for_the_answer_of_another_system(ada: Caller) -> None:
    told = read_example("webhook-answer")
    async with serve_webhook() as hook:
        run = await play_example(ada, told, told["inputs"] | {"webhook_url": hook.url})
    assert run["status"] == "completed", run["error"]
    assert run["outputs"] == {"receipt": {"order": "A-7", "paid": 12.5, "open": 17.5}}
    assert run["steps"]["reminder"]["status"] == "skipped"
    assert hook.sent[-1]["answer_to"].endswith(f"/v1/runs/{run['id']}:signal")
