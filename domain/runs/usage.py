"""What calls of models took together: a run's own calls, or those of the runs that it waited for."""

from decimal import Decimal

from msgspec import Struct


class Took(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A sum over calls. `cost_usd` is a decimal string; none where no call had a price."""

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None


def added(one: Took, other: Took) -> Took:
    """Return two sums together; money exactly."""
    costs = [Decimal(took.cost_usd) for took in (one, other) if took.cost_usd is not None]
    return Took(
        model_calls=one.model_calls + other.model_calls,
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cost_usd=str(sum(costs)) if costs else None,
    )
