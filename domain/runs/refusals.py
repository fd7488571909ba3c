"""Refusals of commands on runs."""

from domain.refusal import Refusal, RefusalKind


class RunNotFound(Refusal):
    """The run does not exist, or belongs to another workspace."""

    code = "run_not_found"
    kind = RefusalKind.MISSING


class RunAlreadyStarted(Refusal):
    """A run with this id exists already."""

    code = "run_already_started"


class RunNotRunning(Refusal):
    """The run has ended."""

    code = "run_not_running"


class StepNotWaiting(Refusal):
    """The step is not waiting for a decision."""

    code = "step_not_waiting"


class StepAlreadyDecided(Refusal):
    """The step has been decided already; only the first decision counts."""

    code = "step_already_decided"


class DeadlinePassed(Refusal):
    """The deadline of the step has passed; decisions are no longer accepted."""

    code = "deadline_passed"


class NotAnAssignee(Refusal):
    """The step is assigned to another person or role; you cannot decide it."""

    code = "not_an_assignee"
    kind = RefusalKind.FORBIDDEN


class DecisionUnacceptable(Refusal):
    """The decision is not valid for this step; see the problems."""

    code = "decision_unacceptable"
    kind = RefusalKind.UNACCEPTABLE


class StepNotFound(Refusal):
    """The run's graph has no such node, or the run has not reached it."""

    code = "step_not_found"
    kind = RefusalKind.MISSING


class RunNotRetriable(Refusal):
    """Only a run that has failed or was cancelled can be retried."""

    code = "run_not_retriable"


class RunIsChild(Refusal):
    """The run is the child of another run, which has its result already. Retry the parent run instead."""

    code = "run_is_child"


class CompletedPartChanged(Refusal):
    """The newest graph differs in the completed part of the run; see the problems."""

    code = "completed_part_changed"


class WorkflowContainsItself(Refusal):
    """The workflow contains itself, directly or through another workflow. Remove that step."""

    code = "workflow_contains_itself"
    kind = RefusalKind.UNACCEPTABLE


class FeatureSwitchedOff(Refusal):
    """An operator has switched this off by a feature flag."""

    code = "feature_switched_off"
    kind = RefusalKind.FORBIDDEN


class WorkflowTooDeep(Refusal):
    """More than 10 workflows are nested. Remove a level."""

    code = "workflow_too_deep"
    kind = RefusalKind.UNACCEPTABLE


class WorkflowsTooMany(Refusal):
    """The workflow contains more than 200 other workflows, including nested ones. Split it."""

    code = "workflows_too_many"
    kind = RefusalKind.UNACCEPTABLE


class TooManyRuns(Refusal):
    """The workspace has as many runs as it may have. Wait until some have ended."""

    code = "too_many_runs"
    kind = RefusalKind.LIMITED


class SignalNotAwaited(Refusal):
    """No step of the run waits for a signal of this name, now or later."""

    code = "signal_not_awaited"


class SignalAlreadySent(Refusal):
    """A signal of this name was sent already; the first one counts."""

    code = "signal_already_sent"


class SignalUnacceptable(Refusal):
    """The data of the signal does not meet the schema of the step that waits for it."""

    code = "signal_unacceptable"
    kind = RefusalKind.UNACCEPTABLE


class InputsUnacceptable(Refusal):
    """The inputs do not meet the `input_schema` of the workflow."""

    code = "inputs_unacceptable"
    kind = RefusalKind.UNACCEPTABLE
