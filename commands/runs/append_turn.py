"""Advancing a run that an engine holds: the facts of a turn, appended with the held version as the expected one."""

from commands.runs.turn import Turn
from domain.folded import Folded
from domain.runs.run import Run
from store.errors import OutcomeUnknown
from store.log.log import Log
from store.log.records import Append, Metadata, Repeated


async def advance(log: Log, held: Folded[Run], turn: Turn, metadata: Metadata) -> Folded[Run]:
    """Append the facts of a turn in one transaction and give the run as it is then.

    Raises Conflict when someone else moved the run; Unavailable, OutcomeUnknown, FactTooLarge.
    """
    if not turn.facts:
        return held
    accepted = await log.append(
        Append(
            stream_id=held.stream_id,
            expected_version=held.version,
            workspace_id=held.workspace_id,
            project_id=held.project_id,
            facts=tuple(turn.facts),
            metadata=metadata,
        )
    )
    if isinstance(accepted, Repeated):
        raise OutcomeUnknown("a command without an id was answered as a repeat")
    return Folded(
        stream_id=held.stream_id,
        workspace_id=held.workspace_id,
        project_id=held.project_id,
        version=accepted.version,
        position=accepted.position,
        created_position=held.created_position or accepted.recorded[0].position,
        created_at=held.created_at if held.version else accepted.recorded_at,
        updated_at=accepted.recorded_at,
        state=turn.run,
    )
