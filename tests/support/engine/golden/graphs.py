"""The graphs of the golden scenarios."""

from typing import Any, Final

from tests.support.engine.harness import asks, reviews
from tests.support.graphs import Json, edge, graph, node

SOON: Final[Json] = {"max_attempts": 3, "backoff": {"initial_seconds": 0.01, "jitter": 0}}
BRIEF: Final = {"brief": "tea", "channels": ["mail", "press"], "list": [1, 2, 3]}


def picks(node_id: str, expression: str | None = None, **fields: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, **fields) if expression is None else node(node_id, config={"expression": expression}, **fields)


def waits(node_id: str, **config: Any) -> Json:  # noqa: ANN401  # JSON
    return node(node_id, kind="delay", config=config)


PROMPTS: Final = graph(
    asks("outline"),
    asks("mail", "moody", retry=SOON),
    asks("video"),
    node(
        "score",
        kind="prompt",
        config={
            "model": "fake/clumsy",
            "template": "score",
            "output": {"format": "json", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        },
    ),
    picks("page", "{mail: steps.mail.output, video: steps.video.output, score: steps.score.output}"),
    edges=[
        edge("outline", "mail", when="'mail' in inputs.channels"),
        edge("outline", "video", when="'video' in inputs.channels"),
        edge("mail", "page"),
        edge("video", "page"),
        edge("outline", "score"),
        edge("score", "page"),
    ],
)
PEOPLE: Final = graph(
    reviews("asked"),
    reviews("late", deadline={"after_seconds": 0.1, "then": {"action": "decide", "outcome": "reject"}}),
    {
        **reviews("nobody", deadline={"after_seconds": 0.1}),
        "on_error": {"action": "fallback", "to": "instead"},
    },
    picks("instead", "'nobody came'"),
    picks("after"),
    edges=[
        edge("asked", "after", when="steps.asked.output.outcome == 'approve'"),
        edge("late", "after", when="steps.late.output.outcome == 'approve'"),
        edge("nobody", "instead"),
        edge("nobody", "after"),
    ],
)
POLICIES: Final = graph(
    picks("a", "length(`1`)", on_error={"action": "continue", "output": {"n": 1}}),
    picks("b", "length(`1`)", on_error={"action": "fallback", "to": "d"}),
    picks("c", "steps.a.output.n"),
    picks("d", "'instead'"),
    picks("e"),
    edges=[
        edge("a", "c", when="steps.a.output.n == 1"),
        edge("b", "c"),
        edge("b", "d"),
        edge("c", "e"),
        edge("d", "e"),
    ],
)
DELAYS: Final = graph(
    waits("short", seconds=0.05),
    waits("over", until="2026-01-01T00:00:00Z"),
    waits("wrong", until="{{ inputs.brief }}"),
    edges=[edge("short", "over"), edge("over", "wrong")],
)
HELD: Final = graph(asks("a"), asks("b", "held"), picks("c"), edges=[edge("a", "b"), edge("b", "c")])
MOODY: Final = graph(
    asks("a"), asks("b", "moody"), picks("c"), asks("z"), edges=[edge("a", "b"), edge("b", "c"), edge("a", "z")]
)
NEWEST: Final = graph(
    picks("new"), asks("z"), asks("a"), asks("b"), picks("c"), picks("d"),
    edges=[edge("new", "c"), edge("a", "z"), edge("a", "b"), edge("b", "c"), edge("c", "d")],
)  # fmt: skip
ODD: Final = graph(asks("a"), picks("b", "length(inputs.item || inputs.index)"), edges=[edge("a", "b")])
HARD: Final = graph(
    picks("which", "inputs.item"),
    asks("easy"),
    asks("hard", "moody"),
    edges=[edge("which", "easy", when="steps.which.output < 3"), edge("which", "hard", when="steps.which.output > 2")],
)
