"""The limit of one run's data. Inputs and step outputs are all in memory while a run is driven.

The check depends only on what is recorded and on the setting, so every engine decides alike. Only data stored beside
the log counts, and only new data is refused: a run over a limit that was lowered since still finishes.
"""

from typing import Final

from domain.graphs.graph import ErrorClass
from domain.payload import Payload
from domain.runs.run import Run
from domain.runs.steps import count_stored_bytes
from engine.steps.contract import Failed, build_failure

RUN_DATA_BYTES: Final = 64 * 1024 * 1024
LIMIT_VARIABLE: Final = "CALLSHEET_ENGINE_RUN_DATA_BYTES"


def check_data_limit(payload: Payload, run: Run, node: str, limit_bytes: int) -> Failed | None:
    """Return the failure of a step whose payload would take its run over the limit, or None if it fits.

    A payload no larger than what the step holds already always fits, such as an output that a retry has kept.
    """
    held = count_stored_bytes(run.steps.get(node))
    if payload.bytes is None or payload.bytes <= held:
        return None
    others = run.data_bytes - held
    if others + payload.bytes <= limit_bytes:
        return None
    return build_failure(
        ErrorClass.INVALID_OUTPUT,
        f"the run holds {others} bytes of data, and the {payload.bytes} bytes of this step would exceed the limit of "
        f"{limit_bytes} bytes. Return less data, or raise {LIMIT_VARIABLE}.",
    )
