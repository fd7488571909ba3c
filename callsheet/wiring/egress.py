"""Wiring of outgoing calls: which addresses may be called, and the `http` steps that call them."""

from callsheet.settings.load import Settings
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.steps.evaluator import Evaluator
from engine.steps.http.step import HttpSteps


def guard_of(settings: Settings) -> Guard:
    """Make the guard of outgoing calls."""
    return Guard(allowed=settings.outgoing.allowed or AllowList())


def http_steps_of(settings: Settings, slow: Evaluator) -> HttpSteps:
    """Make what carries out `http` steps."""
    file = settings.secrets.file
    return HttpSteps(
        guard_of(settings),
        {} if file is None else file.secrets,
        settings.outgoing,
        slow,
    )
