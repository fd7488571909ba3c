"""Wiring of outgoing calls: the egress guard, and the executor of `http` steps."""

from callsheet.settings.load import Settings
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.steps.evaluator import Evaluator
from engine.steps.http.step import HttpSteps


def create_egress_guard(settings: Settings) -> Guard:
    """Create the guard of outgoing calls."""
    return Guard(allowed=settings.outgoing.allowed or AllowList())


def create_http_steps(settings: Settings, slow: Evaluator) -> HttpSteps:
    """Create the executor of `http` steps."""
    file = settings.secrets.file
    return HttpSteps(
        create_egress_guard(settings),
        {} if file is None else file.secrets,
        settings.outgoing,
        slow,
    )
