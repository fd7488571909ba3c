"""Each rule speaks of a history in which there is something to say, and is silent about one in which there is not."""

from datetime import timedelta

from msgspec.structs import replace

from domain.graphs.configs import Assignee, HumanConfig
from domain.graphs.graph import ErrorClass, Graph, HumanNode
from domain.ids import from_uuid
from domain.runs.facts import RunFact, Usage
from projections.insights.recommendations.cost_hot_spot import cost_hot_spot
from projections.insights.recommendations.cut_answers import cut_answers
from projections.insights.recommendations.failing_step import failing_step
from projections.insights.recommendations.flaky_step import flaky_step
from projections.insights.recommendations.human_bottleneck import human_bottleneck
from projections.insights.recommendations.prompt_regression import prompt_regression
from projections.insights.recommendations.recommendation import Severity
from projections.insights.recommendations.rules import recommendations
from projections.insights.recommendations.slow_step import slow_step
from projections.insights.recommendations.unused_branch import unused_branch
from tests.support.projections.recommendations import (
    NOW,
    PAST,
    PROMPT,
    SECOND,
    WORKFLOW,
    apply_rule,
    claim_step,
    complete_step,
    create_completed_run,
    create_failed_run,
    decide_step,
    end_run,
    fail_step,
    observe,
    reject_answer,
    start_run,
    wait_for_review,
)

HOURS = timedelta(hours=1)


def test_a_step_that_fails_often_is_told_of_with_its_shares_and_errors() -> None:
    (told,) = apply_rule(failing_step, [create_failed_run(NOW)] * 4 + [create_completed_run(NOW)] * 16)
    assert (told.code, told.severity, told.workflow_id, told.node_id) == (
        "failing_step",
        Severity.WARNING,
        WORKFLOW,
        "draft",
    )
    assert told.evidence == {"ended": 20, "failed": 4, "failed_share": 0.2, "errors": {"timeout": 4}}
    assert "4 of 20" in told.detail
    assert told.suggested_action
    assert (
        apply_rule(failing_step, [create_failed_run(NOW)] * 6 + [create_completed_run(NOW)] * 14)[0].severity
        is Severity.CRITICAL
    )


def test_another_attempt_is_advised_only_where_it_may_end_otherwise() -> None:
    (timeouts,) = apply_rule(failing_step, [create_failed_run(NOW)] * 20)
    assert "retry that class" in timeouts.suggested_action
    (expressions,) = apply_rule(failing_step, [create_failed_run(NOW, ErrorClass.EXPRESSION)] * 20)
    assert "retry" not in expressions.suggested_action
    assert "fix their common cause" in expressions.suggested_action


def test_a_step_that_seldom_fails_or_has_hardly_run_is_not() -> None:
    assert apply_rule(failing_step, [create_failed_run(NOW)] * 1 + [create_completed_run(NOW)] * 19) == []
    assert apply_rule(failing_step, [create_failed_run(NOW)] * 19) == []
    assert apply_rule(failing_step, [create_failed_run(PAST)] * 30) == [], "the window is what counts"


def create_retried_run() -> list[RunFact]:
    return [
        start_run(NOW),
        claim_step(NOW),
        fail_step(NOW, again=True),
        claim_step(NOW, attempt=2),
        complete_step(NOW + SECOND, attempt=2),
        end_run(NOW + SECOND),
    ]


def test_a_step_that_often_needs_another_attempt_is_flaky() -> None:
    (told,) = apply_rule(flaky_step, [create_retried_run()] * 4 + [create_completed_run(NOW)] * 16)
    assert (told.code, told.node_id, told.evidence["recovered"], told.evidence["retries"]) == (
        "flaky_step",
        "draft",
        4,
        4,
    )
    assert apply_rule(failing_step, [create_retried_run()] * 20) == [], "it gets there in the end"


def create_cut_run() -> list[RunFact]:
    usage = Usage(model="gate/big", input_tokens=1, output_tokens=1, latency_ms=1, truncated=True)
    completed = replace(complete_step(NOW + SECOND, cost="0"), usage=usage)
    return [start_run(NOW), claim_step(NOW), completed, end_run(NOW + SECOND)]


def test_a_step_whose_answers_are_often_cut_is_told_which_setting_to_change() -> None:
    whole = [start_run(NOW), claim_step(NOW), complete_step(NOW, cost="0"), end_run(NOW)]
    (found,) = apply_rule(cut_answers, [create_cut_run()] * 1 + [whole] * 19)
    assert (found.code, found.node_id) == ("cut_answers", "draft")
    assert found.evidence == {"calls": 20, "truncated": 1, "truncated_share": 0.05}
    assert "max_output_tokens" in found.suggested_action
    assert apply_rule(cut_answers, [create_cut_run()] * 19) == []
    assert apply_rule(cut_answers, [whole] * 20) == []


def test_a_step_that_seldom_does_is_not_flaky() -> None:
    assert apply_rule(flaky_step, [create_retried_run()] * 1 + [create_completed_run(NOW)] * 19) == []
    assert apply_rule(flaky_step, [create_retried_run()] * 19) == []


def test_a_step_that_takes_longer_than_in_the_time_before_has_become_slow() -> None:
    before = [create_completed_run(PAST, lasts=2 * SECOND)] * 20
    (told,) = apply_rule(slow_step, [*before, *([create_completed_run(NOW, lasts=4 * SECOND)] * 20)])
    assert (told.code, told.node_id) == ("slow_step", "draft")
    assert abs(float(str(told.evidence["p50_ms"])) - 4_000) < 100
    assert abs(float(str(told.evidence["p50_ms_before"])) - 2_000) < 50


def test_a_step_is_not_slow_without_a_past_or_by_a_trifle() -> None:
    before = [create_completed_run(PAST, lasts=2 * SECOND)] * 20
    assert apply_rule(slow_step, [create_completed_run(NOW, lasts=60 * SECOND)] * 40) == []
    assert apply_rule(slow_step, [*before[:19], *([create_completed_run(NOW, lasts=60 * SECOND)] * 20)]) == []
    assert apply_rule(slow_step, [*before, *([create_completed_run(NOW, lasts=2.5 * SECOND)] * 20)]) == []
    quick = timedelta(milliseconds=10)
    assert (
        apply_rule(
            slow_step,
            [*([create_completed_run(PAST, lasts=quick)] * 20), *([create_completed_run(NOW, lasts=20 * quick)] * 20)],
        )
        == []
    )


def test_what_waits_for_people_is_not_slow_but_a_bottleneck() -> None:
    def create_reviewed_run(at_past: bool, wait: timedelta) -> list[RunFact]:  # noqa: FBT001  # which of two times
        at = PAST if at_past else NOW
        return [
            start_run(at),
            claim_step(at, "review"),
            wait_for_review(at),
            decide_step(at + wait),
            complete_step(at + wait, "review"),
            end_run(at + wait + SECOND),
        ]

    runs = [create_reviewed_run(True, HOURS)] * 20 + [create_reviewed_run(False, 5 * HOURS)] * 20  # noqa: FBT003  # as above
    assert apply_rule(slow_step, runs) == []
    (told,) = apply_rule(human_bottleneck, runs)
    assert (told.code, told.node_id, told.evidence["decided"]) == ("human_bottleneck", "review", 20)
    assert float(str(told.evidence["share_of_run"])) > 0.9
    assert apply_rule(human_bottleneck, [create_reviewed_run(False, HOURS / 2)] * 20) == [], "half an hour is quick"  # noqa: FBT003  # which of two times
    assert apply_rule(human_bottleneck, [create_reviewed_run(False, 5 * HOURS)] * 9) == [], "nine are no sample"  # noqa: FBT003  # which of two times


def test_people_are_no_bottleneck_where_most_of_the_time_goes_elsewhere() -> None:
    run: list[RunFact] = [
        start_run(NOW),
        claim_step(NOW, "review"),
        wait_for_review(NOW),
        decide_step(NOW + 2 * HOURS),
        complete_step(NOW + 2 * HOURS, "review"),
        end_run(NOW + 20 * HOURS),
    ]
    assert apply_rule(human_bottleneck, [run] * 20) == []


def create_paid_run(draft: str, edit: str) -> list[RunFact]:
    return [
        start_run(NOW),
        claim_step(NOW),
        complete_step(NOW + SECOND, cost=draft),
        claim_step(NOW, "edit"),
        complete_step(NOW + SECOND, "edit", cost=edit),
    ]


def test_the_step_that_makes_most_of_the_cost_is_a_hot_spot() -> None:
    (told,) = apply_rule(cost_hot_spot, [create_paid_run("0.09", "0.01")] * 20)
    assert (told.code, told.node_id, told.severity) == ("cost_hot_spot", "draft", Severity.INFO)
    assert told.evidence["cost_usd"] == "1.8"
    assert told.evidence["total_cost_usd"] == "2"
    assert told.evidence["share"] == 0.9
    assert told.evidence["cost_usd_per_call"] == "0.09"


def test_no_step_is_a_hot_spot_where_it_is_cheap_or_the_only_one() -> None:
    assert apply_rule(cost_hot_spot, [create_paid_run("0.009", "0.001")] * 20) == []
    assert apply_rule(cost_hot_spot, [create_completed_run(NOW, cost="0.5")] * 20) == []
    assert apply_rule(cost_hot_spot, [create_paid_run("0.5", "0.3")] * 19) == []


def test_a_branch_that_no_run_takes_is_told_of_at_the_step_that_it_leads_to() -> None:
    (told,) = apply_rule(unused_branch, [create_completed_run(NOW)] * 50)
    assert (told.code, told.node_id, told.evidence["when"], told.evidence["completed"]) == (
        "unused_branch",
        "extra",
        "inputs.extra",
        50,
    )


def test_a_branch_that_was_taken_once_or_had_few_chances_is_not() -> None:
    assert (
        apply_rule(unused_branch, [*([create_completed_run(NOW)] * 60), create_completed_run(NOW, edges=(0, 1))]) == []
    )
    assert apply_rule(unused_branch, [create_completed_run(NOW)] * 49) == []
    assert apply_rule(unused_branch, [create_completed_run(NOW)] * 50, Graph(nodes=())) == [], "a graph without it"


def create_answered_run(version: int, *, well_formed: bool) -> list[RunFact]:
    repairs = () if well_formed else (reject_answer(NOW),)
    return [
        start_run(NOW, asset_version=version),
        claim_step(NOW),
        *repairs,
        complete_step(NOW + SECOND, cost="0.01"),
        end_run(NOW + SECOND),
    ]


def test_a_new_version_of_a_prompt_that_does_worse_is_a_regression() -> None:
    old = [create_answered_run(1, well_formed=True)] * 28 + [create_answered_run(1, well_formed=False)] * 2
    new = [create_answered_run(2, well_formed=True)] * 15 + [create_answered_run(2, well_formed=False)] * 15
    (told,) = apply_rule(prompt_regression, [*old, *new])
    assert (told.code, told.node_id, told.severity) == ("prompt_regression", "draft", Severity.CRITICAL)
    assert told.evidence["asset_id"] == from_uuid("ast", PROMPT)
    assert (told.evidence["version"], told.evidence["version_before"]) == (2, 1)
    assert (told.evidence["bad_share"], told.evidence["bad_share_before"]) == (0.5, 0.0667)


def test_a_new_version_is_no_regression_when_it_is_better_or_hardly_used_or_unlucky_or_not_the_newest() -> None:
    good, bad = [create_answered_run(1, well_formed=True)] * 30, [create_answered_run(1, well_formed=False)] * 30
    assert apply_rule(prompt_regression, [*bad, *([create_answered_run(2, well_formed=True)] * 30)]) == []
    assert apply_rule(prompt_regression, [*good, *([create_answered_run(2, well_formed=False)] * 19)]) == []
    unlucky = [create_answered_run(2, well_formed=True)] * 26 + [create_answered_run(2, well_formed=False)] * 4
    assert apply_rule(prompt_regression, [*good[:20], *unlucky]) == []
    mended = [create_answered_run(3, well_formed=True)] * 5
    assert apply_rule(prompt_regression, [*good, *([create_answered_run(2, well_formed=False)] * 30), *mended]) == []


def test_what_matters_most_comes_first() -> None:
    runs = [create_failed_run(NOW)] * 20 + [create_completed_run(NOW)] * 50 + [create_retried_run()] * 10
    assert [recommendation.severity for recommendation in recommendations(observe(runs))] == [
        Severity.WARNING,
        Severity.WARNING,
        Severity.INFO,
    ]
    reviews = HumanNode(id="draft", config=HumanConfig(assignees=(Assignee(user="ada"),)))
    slow = [create_completed_run(PAST)] * 20 + [create_completed_run(NOW, lasts=60 * SECOND)] * 20
    assert apply_rule(slow_step, slow, Graph(nodes=(reviews,))) == [], "a person takes the time that a person takes"
