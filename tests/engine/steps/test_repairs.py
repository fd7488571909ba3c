"""Repairs: an answer that does not meet the step's schema is rejected, on record, and the model is asked again."""

import pytest

from domain.graphs.configs import JsonOutput, TextOutput
from domain.graphs.graph import ErrorClass
from domain.runs.facts import AnswerRejected, StepFailed, StepStarted
from domain.runs.run import RunStatus
from domain.runs.steps import list_usages
from engine.steps.prompt_answers import InvalidAnswer, ValidAnswer, validate_answer
from tests.support.engine.harness import check_history, open_harness
from tests.support.graphs import Json, graph, node

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ASKED = JsonOutput(schema=SCHEMA)


def asks_for_json(**output: int) -> Json:
    config = {"model": "fake/clumsy", "template": "a", "output": {"format": "json", "schema": SCHEMA, **output}}
    return graph(node("a", kind="prompt", config=config))


async def test_a_model_is_asked_again_with_its_answer_and_what_is_wrong_with_it(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(asks_for_json())
        ended = await harness.wait_until_ended(run)
        facts = await harness.list_facts(run)
    assert ended.outputs["a"].value == {"n": 3}
    first, second, third = harness.fake_model.repairs
    assert first is None
    assert second is not None
    assert third is not None
    assert (second.answer, third.answer) == ("It is one.", '{"n": "two"}')
    assert "/n" in third.said
    check_history(facts)


async def test_each_rejected_answer_is_recorded_with_its_cost_within_the_one_attempt(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(asks_for_json())
        step = (await harness.wait_until_ended(run)).steps["a"]
        facts = await harness.list_facts(run)
    rejections = [fact for fact in facts if isinstance(fact, AnswerRejected)]
    assert [(fact.attempt, fact.repair) for fact in rejections] == [(1, 1), (1, 2)]
    assert len([fact for fact in facts if isinstance(fact, StepStarted)]) == 1
    assert step.repairs == 2
    assert [usage.cost_usd for usage in list_usages(step)] == ["0.0011", "0.0021", "0.0031"]


async def test_a_repair_has_a_token_of_its_own_for_it_is_another_call(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        await harness.wait_until_ended(await harness.begin(asks_for_json()))
    assert len(harness.fake_model.tokens["a"]) == 3


async def test_with_no_repairs_left_the_step_fails_and_all_calls_count(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        run = await harness.begin(asks_for_json(repair_attempts=1))
        ended = await harness.wait_until_ended(run, RunStatus.FAILED)
        facts = await harness.list_facts(run)
    assert harness.fake_model.calls["a"] == 2
    (failure,) = [fact for fact in facts if isinstance(fact, StepFailed)]
    assert failure.error.error_class is ErrorClass.INVALID_OUTPUT
    assert [usage.cost_usd for usage in list_usages(ended.steps["a"])] == ["0.0011", "0.0021"]


async def test_without_repairs_nothing_is_asked_twice(database: str) -> None:
    async with open_harness(database) as harness, harness.run_engine():
        await harness.wait_until_ended(await harness.begin(asks_for_json(repair_attempts=0)), RunStatus.FAILED)
    assert harness.fake_model.calls["a"] == 1


@pytest.mark.parametrize("text", ['{"n": 1}', ' {"n":1}\n', '```json\n{"n": 1}\n```', '```\n{"n": 1}\n```\n'])
def test_json_may_be_in_a_fence(text: str) -> None:
    assert validate_answer(text, ASKED) == ValidAnswer({"n": 1})


@pytest.mark.parametrize(
    "text",
    [
        '\ufeff{"n": 1}',
        '```JSON\n{"n": 1}\n```',
        '```Json5 \r\n{"n": 1}\n  ```',
        '~~~\n{"n": 1}\n~~~',
        'Here you are:\n```json\n{"n": 1}\n```\nHave fun with `n`.',
        'Here you are: {"n": 1}. Have fun.',
        '[1] says so: {"n": 1}',
        'An example is {"m": 2}, the answer {"n": 1}',
        'Use { and }: {"n": 1}',
        '```json\n{"n": 1, "code": "```\\n"}\n```',
        '"{\\"n\\": 1}"',
        '{"n": 1, "text": "a\\ud800b"}',
        '```\nnot this\n```\n\n```json\n{"n": 1}\n```',
        '```json{"n": 1}```',
    ],
)
def test_json_is_found_before_a_repair_is_paid_for(text: str) -> None:
    validated = validate_answer(text, ASKED)
    assert isinstance(validated, ValidAnswer)
    assert validated.output["n"] == 1


def test_nul_characters_in_json_are_dropped() -> None:
    text = '{"n": 1, "a\\u0000b": ["c\\u0000", {"d": "\\\\u0000"}]}'
    assert validate_answer(text, ASKED) == ValidAnswer({"n": 1, "ab": ["c", {"d": "\\u0000"}]})


@pytest.mark.parametrize("text", ['[{"n": 1}, {"n": 2', 'Well: {"all": [{"n": 1}], "text": "and', '{"a": {"n": 1}'])
def test_a_part_of_json_that_broke_off_is_no_answer(text: str) -> None:
    assert isinstance(validate_answer(text, ASKED), InvalidAnswer)


def test_of_several_values_the_largest_is_meant_where_any_would_do() -> None:
    assert validate_answer('See [1]: {"title": "Long"}', JsonOutput(schema={})) == ValidAnswer({"title": "Long"})


def test_a_large_text_without_json_takes_no_long_time() -> None:
    assert isinstance(validate_answer("[ { " * 1_000_000, ASKED), InvalidAnswer)


@pytest.mark.parametrize(
    "text", ["", "no", "{", '{"n": "1"}', "[" * 100_000, "[" * 500 + "]" * 500, "\ud800", '{"n": ']
)
def test_what_is_not_asked_for_is_unfit_and_says_why(text: str) -> None:
    validated = validate_answer(text, ASKED)
    assert isinstance(validated, InvalidAnswer)
    assert validated.problems


def test_a_text_is_taken_as_it_is() -> None:
    assert validate_answer("```json\n1\n```", TextOutput()) == ValidAnswer("```json\n1\n```")
