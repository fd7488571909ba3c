"""An OpenFeature provider over flagd's evaluator: an operator can replace it by flagd itself without new flags."""

from collections.abc import Mapping, Sequence
from typing import Any

from openfeature.contrib.tools.flagd.core.flagd_core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType
from openfeature.provider import AbstractProvider, Metadata


class FlagdFileProvider(AbstractProvider):
    """Resolves flags of a flagd definition, which `replace` sets."""

    def __init__(self) -> None:
        """Create it without flags."""
        super().__init__()
        self._core = FlagdCore()

    def replace(self, definition: dict[str, Any]) -> None:
        """Replace all flags. Raises openfeature.exception.ParseError, and other exceptions for malformed flags."""
        self._core.set_flags(definition)

    def get_metadata(self) -> Metadata:
        """Return the name of the provider."""
        return Metadata(name="callsheet flagd file")

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,  # noqa: FBT001  # OpenFeature's signature
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        """Resolve a flag that is true or false."""
        return self._core.resolve_boolean_value(flag_key, default_value, evaluation_context)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Resolve a flag that is a text."""
        return self._core.resolve_string_value(flag_key, default_value, evaluation_context)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Resolve a flag that is an integer."""
        return self._core.resolve_integer_value(flag_key, default_value, evaluation_context)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Resolve a flag that is a number."""
        return self._core.resolve_float_value(flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Resolve a flag that is an object or a list."""
        return self._core.resolve_object_value(flag_key, default_value, evaluation_context)
