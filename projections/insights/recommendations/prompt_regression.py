"""A prompt whose new version fails more often than the previous one."""

import math
from collections.abc import Iterator
from itertools import pairwise
from uuid import UUID

from domain.ids import from_uuid
from projections.insights.figures import AssetUse, StepFigures
from projections.insights.measures import Measures
from projections.insights.recommendations.recommendation import (
    Recommendation,
    RuleInput,
    Severity,
    Thresholds,
    percent,
    share,
)


def prompt_regression(insights: RuleInput, at: Thresholds) -> Iterator[Recommendation]:
    """Find steps that fail more often with the newest version of a prompt than with the version before it."""
    for workflow_id, node_id, step in insights.steps():
        if step.now.calls == 0:
            continue
        for new, old in _pairs(step, at):
            worse = _worse(step.by_asset[new], step.by_asset[old], at)
            if worse is not None:
                yield _describe(workflow_id, node_id, step, new, old, worse)


def _pairs(step: StepFigures, at: Thresholds) -> Iterator[tuple[AssetUse, AssetUse]]:
    """Yield the newest version of each prompt with the one before it, where both have enough samples."""
    enough = sorted(use for use, measures in step.by_asset.items() if measures.attempts >= at.regression_sample)
    for old, new in pairwise(enough):
        newest = max(use.version for use in step.by_asset if use.asset_id == new.asset_id)
        if old.asset_id == new.asset_id and new.version == newest:
            yield new, old


def _worse(new: Measures, old: Measures, at: Thresholds) -> tuple[float, float] | None:
    """Return the shares of bad attempts if they differ by much and significantly, else None.

    Significance: the two-proportion z-test with a pooled share.
    """
    bad_new, bad_old = (share(min(_bad(measures), measures.attempts), measures.attempts) for measures in (new, old))
    pooled = share(min(_bad(new), new.attempts) + min(_bad(old), old.attempts), new.attempts + old.attempts)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / new.attempts + 1 / old.attempts))
    if bad_new - bad_old < at.regression_share or bad_new - bad_old < at.regression_deviations * deviation:
        return None
    return bad_new, bad_old


def _bad(measures: Measures) -> int:
    return measures.failed + measures.retries + measures.rejected


def _describe(
    workflow_id: UUID, node_id: str, step: StepFigures, new: AssetUse, old: AssetUse, worse: tuple[float, float]
) -> Recommendation:
    now, before = step.by_asset[new], step.by_asset[old]
    return Recommendation(
        code="prompt_regression",
        severity=Severity.CRITICAL,
        title=f"Version {new.version} of the prompt of {node_id} fails more often than version {old.version}",
        detail=(
            f"With version {new.version} something goes wrong in {percent(worse[0])} of the attempts (a failure, or an "
            f"answer that has to be repaired); with version {old.version} it was {percent(worse[1])}."
        ),
        evidence={
            "asset_id": from_uuid("ast", new.asset_id),
            "version": new.version,
            "version_before": old.version,
            "attempts": now.attempts,
            "attempts_before": before.attempts,
            "bad_share": round(worse[0], 4),
            "bad_share_before": round(worse[1], 4),
            "failed": now.failed,
            "retries": now.retries,
            "rejected_answers": now.rejected,
        },
        workflow_id=workflow_id,
        node_id=node_id,
        suggested_action=f"Compare the two versions, or make the content of version {old.version} the newest again.",
    )
