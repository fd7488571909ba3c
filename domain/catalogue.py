"""The catalogue of all facts, and which noun's stream each belongs to."""

from domain.asset import AssetFact
from domain.project import ProjectFact
from domain.runs.facts import RunFact
from domain.workflow import WorkflowFact

AnyFact = ProjectFact | WorkflowFact | AssetFact | RunFact
