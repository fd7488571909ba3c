"""The catalogue of all facts, and the kind of stream that each belongs to."""

from domain.announcement import AnnouncementFact
from domain.api_key import ApiKeyFact
from domain.asset import AssetFact
from domain.project import ProjectFact
from domain.runs.facts import RunFact
from domain.workflow import WorkflowFact

AnyFact = ProjectFact | WorkflowFact | AssetFact | ApiKeyFact | AnnouncementFact | RunFact
