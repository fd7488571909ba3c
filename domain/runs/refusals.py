"""What runs refuse."""

from domain.refusal import Refusal, RefusalKind


class RunNotFound(Refusal):
    """There is no such run."""

    code = "run_not_found"
    kind = RefusalKind.MISSING


class RunAlreadyStarted(Refusal):
    """A run with this id has started already."""

    code = "run_already_started"


class RunNotRunning(Refusal):
    """The run has ended."""

    code = "run_not_running"


class StepNotWaiting(Refusal):
    """The step does not wait for a person's decision."""

    code = "step_not_waiting"


class StepAlreadyDecided(Refusal):
    """The step has been decided already; one decision wins."""

    code = "step_already_decided"


class DeadlinePassed(Refusal):
    """The deadline of the step is over: nobody's decision is taken any more."""

    code = "deadline_passed"


class NotAnAssignee(Refusal):
    """The step waits for somebody else's decision."""

    code = "not_an_assignee"
    kind = RefusalKind.FORBIDDEN


class DecisionUnacceptable(Refusal):
    """The decision does not fit what the step asks for."""

    code = "decision_unacceptable"
    kind = RefusalKind.UNACCEPTABLE


class StepNotFound(Refusal):
    """The run's graph has no such node, or the run has not come to it."""

    code = "step_not_found"
    kind = RefusalKind.MISSING


class RunNotRetriable(Refusal):
    """Only a run that has failed or was cancelled can go on."""

    code = "run_not_retriable"


class RunIsChild(Refusal):
    """Another run began this one and has its result already; retry that run instead."""

    code = "run_is_child"


class CompletedPartChanged(Refusal):
    """The newest graph differs in the part of the run that is completed; each problem says where."""

    code = "completed_part_changed"


class WorkflowContainsItself(Refusal):
    """The workflow runs itself, directly or through another that it runs: such a run would never end."""

    code = "workflow_contains_itself"
    kind = RefusalKind.UNACCEPTABLE


class FeatureSwitchedOff(Refusal):
    """An operator has switched this off by a feature flag."""

    code = "feature_switched_off"
    kind = RefusalKind.FORBIDDEN


class WorkflowTooDeep(Refusal):
    """More than 10 workflows stand within each other; take out a level."""

    code = "workflow_too_deep"
    kind = RefusalKind.UNACCEPTABLE


class WorkflowsTooMany(Refusal):
    """The workflow runs more than 200 others, counting those within them; split it."""

    code = "workflows_too_many"
    kind = RefusalKind.UNACCEPTABLE


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
