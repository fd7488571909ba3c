"""Features of runs that an operator can switch off by feature flags; a run pins the flags that it saw."""

from collections.abc import Mapping
from typing import Final

from domain.graphs.graph import Graph
from domain.runs.refusals import FeatureSwitchedOff

STEP_FLAGS: Final[Mapping[str, str]] = {"http": "steps-http", "map": "steps-map"}
"""The kinds of steps that can be switched off, each with its flag."""
FORKS: Final = "forks"


def check_features(graph: Graph, flags: Mapping[str, object]) -> None:
    """Raise FeatureSwitchedOff if a graph has a step of a kind whose flag is false. Absent flags are true."""
    off = {kind: flag for kind, flag in STEP_FLAGS.items() if flags.get(flag, True) is False}
    if not off:
        return
    for node in graph.nodes:
        kind = str(node.__struct_config__.tag)
        if kind in off:
            raise FeatureSwitchedOff(f"Steps of the kind `{kind}` are switched off here (feature flag `{off[kind]}`).")
