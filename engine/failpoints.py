"""The failpoints of the engine."""

from enum import StrEnum


class FailPoint(StrEnum):
    """A crash-sensitive point of the engine's work. Each docstring says what a crash there leaves behind."""

    UNCLAIMED = "step.unclaimed"
    """Steps are due and not claimed."""
    CLAIMED = "step.claimed"
    """A step is claimed and its call not made."""
    INLINE = "step.at_once"
    """An inline step is about to run; of a new run the log may hold nothing but its start."""
    CALLED = "step.called"
    """The call of a step is made and its result not recorded."""
    RECORDED = "step.recorded"
    """Results are recorded with the claims that follow from them, and none of these has started."""
    TIMER_DUE = "timer.due"
    """A step is due by the clock and its run has not been woken."""
    RUN_ENDING = "run.ending"
    """A run is about to end and its children have not been asked to cancel."""
    RUN_UNENDED = "run.unended"
    """The children of a run that is about to end have been asked to cancel; the run's own end is not recorded."""
    RUN_ENDED = "run.ended"
    """The end of a run is recorded and no waiter has been notified."""
