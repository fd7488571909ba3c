"""Factory of recorders for the `eventsourcing` library: PERSISTENCE_MODULE=store.eventsourcing.factory."""

from typing import Final, Never

from eventsourcing import persistence
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    TrackingRecorder,
)
from eventsourcing.utils import Environment, EnvType

from store.eventsourcing.recorders import CallsheetAggregateRecorder, CallsheetApplicationRecorder, Datastore

DATABASE_URL: Final = "DATABASE_URL"


class CallsheetFactory(persistence.InfrastructureFactory[TrackingRecorder]):
    """Creates recorders over the log that DATABASE_URL names, in the environment that the library hands over."""

    def __init__(self, env: Environment | EnvType | None) -> None:
        """Connect, lazily. Raises InfrastructureFactoryError without a DATABASE_URL."""
        super().__init__(env)
        conninfo = self.env.get(DATABASE_URL)
        if not conninfo:
            raise persistence.InfrastructureFactoryError(f"{DATABASE_URL} is not set")
        self._datastore = Datastore(conninfo)

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Create a recorder of aggregates. Raises NotSupportedError for snapshots: our streams are short by design."""
        if purpose != "events":
            raise persistence.NotSupportedError(f"a Callsheet log does not store {purpose}")
        return CallsheetAggregateRecorder(self._datastore)

    def application_recorder(self) -> ApplicationRecorder:
        """Create a recorder of an application."""
        return CallsheetApplicationRecorder(self._datastore)

    def tracking_recorder(
        self,
        tracking_recorder_class: type[TrackingRecorder] | None = None,  # noqa: ARG002  # the library names it
    ) -> Never:
        """Refuse: read models have their checkpoints in `projections`. Raises NotSupportedError."""
        raise persistence.NotSupportedError("a Callsheet log tracks no other applications")

    def process_recorder(self) -> Never:
        """Refuse: other applications are not tracked. Raises NotSupportedError."""
        raise persistence.NotSupportedError("a Callsheet log tracks no other applications")

    def close(self) -> None:
        """Close all connections."""
        self._datastore.close()
