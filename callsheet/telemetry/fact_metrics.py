"""Metrics of the facts that this process has committed: counts by topic, and the usage of models."""

from collections import Counter
from decimal import Decimal, InvalidOperation
from typing import Final, cast, get_args

from callsheet.telemetry.metrics import Metrics, Values
from domain.fact import Fact, get_topic
from domain.runs.facts import AnswerRejected, StepCompleted, StepFailed, StepResultRefused, Usage
from store.log.records import Recorded

MODELS_MAX: Final = 50
"""Maximum number of model names, which workflows choose freely; further ones are counted together."""

OTHER_MODELS: Final = "other"
MODEL_CHARACTERS_MAX: Final = 100

UsageFact = StepCompleted | StepFailed | StepResultRefused | AnswerRejected
USAGE_FACTS: Final = frozenset(get_args(UsageFact))
"""The facts that contain the usage of a model."""


class FactTally:
    """Counts facts as they are committed. It is called for every fact, so it does little."""

    def __init__(self) -> None:
        """Start at zero."""
        self.topics: Counter[type[Fact]] = Counter()
        self.tokens: dict[tuple[str, str], int] = {}
        self.cost: dict[str, Decimal] = {}
        self._models: set[str] = set()

    def count_batch(self, recorded: list[Recorded]) -> None:
        """Count a batch that this process has committed."""
        facts = [event.fact for event in recorded]
        self.topics.update(map(type, facts))
        # A look-up in a set of types: `isinstance` with a union takes 150 ns.
        for fact in cast("list[UsageFact]", [fact for fact in facts if type(fact) in USAGE_FACTS]):
            if fact.usage is not None:
                self._count_usage(fact.usage)

    def _count_usage(self, usage: Usage) -> None:
        model = self._label(usage.model)
        for direction, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            self.tokens[model, direction] = self.tokens.get((model, direction), 0) + tokens
        try:
            cost = Decimal(usage.cost_usd or 0)
        except InvalidOperation:
            return
        self.cost[model] = self.cost.get(model, Decimal(0)) + cost

    def _label(self, model: str) -> str:
        label = model[:MODEL_CHARACTERS_MAX]
        if label in self._models:
            return label
        if len(self._models) >= MODELS_MAX:
            return OTHER_MODELS
        self._models.add(label)
        return label

    def register(self, metrics: Metrics) -> None:
        """Register the counts as metrics."""
        metrics.counter("facts", "Facts that this process has committed.", self._topics)
        metrics.counter(
            "model.tokens", "Input and output tokens of models, for runs executed by this process.", self._tokens
        )
        metrics.counter("model.cost.usd", "Cost of these calls in USD, where the price is known.", self._cost)

    def _topics(self) -> Values:
        return [({"topic": get_topic(kind)}, count) for kind, count in list(self.topics.items())]

    def _tokens(self) -> Values:
        counts = list(self.tokens.items())
        return [({"model": model, "direction": direction}, count) for (model, direction), count in counts]

    def _cost(self) -> Values:
        return [({"model": model}, float(cost)) for model, cost in list(self.cost.items())]
