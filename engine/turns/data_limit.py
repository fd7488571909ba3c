"""The bound of one run's data: its inputs, and what its steps gave, are all in memory while it is driven.

It follows from what is recorded and from the setting, so that whoever takes a run over judges alike. Only what is kept
beside the log counts, and only that is refused: a run that holds more than the setting allows now gets to its end.
"""

from typing import Final

from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.run import Run
from domain.runs.steps import bytes_of
from engine.steps.contract import Failed, build_failure

RUN_DATA_BYTES: Final = 64 * 1024 * 1024
BOUND_VARIABLE: Final = "CALLSHEET_ENGINE_RUN_DATA_BYTES"


def no_room_for(payload: Payload, run: Run, node: str, most_bytes: int) -> Failed | None:
    """Give the failure of a step when its run has no room for what the step is to hold from now on.

    What adds nothing to what the step holds has room, as an output that a retry has kept.
    """
    held = bytes_of(run.steps.get(node))
    if payload.bytes is None or payload.bytes <= held:
        return None
    others = run.data_bytes - held
    if others + payload.bytes <= most_bytes:
        return None
    return build_failure(
        ErrorClass.INVALID_OUTPUT,
        f"the run holds {others} bytes of data, and the {payload.bytes} of this step would be more than the "
        f"{most_bytes} that {BOUND_VARIABLE} allows",
    )
