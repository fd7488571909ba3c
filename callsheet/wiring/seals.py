"""Wiring of the sealer, if the settings name keys that seal the log."""

from bus.feed import Feed
from callsheet.settings.load import Settings, SettingsUnusable
from store.log.identity import LogIdentity
from store.log.log import Log
from store.seals.notes import SignerKey
from store.seals.sealer import Sealer


def load_signers(settings: Settings) -> list[SignerKey]:
    """Return the keys that sign, none if sealing is off. Raises SettingsUnusable."""
    path = settings.seal.key_file
    if path is None:
        return []
    try:
        signers = [SignerKey.parse(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise SettingsUnusable({"CALLSHEET_SEAL_KEY_FILE": f"{path} cannot be used: {reason}"}) from fault
    if not signers:
        raise SettingsUnusable({"CALLSHEET_SEAL_KEY_FILE": f"{path} has no key: `callsheet audit key` prints one"})
    return signers


def create_sealer(settings: Settings, conninfo: str, log: Log, identity: LogIdentity, feed: Feed) -> Sealer | None:
    """Create the sealer; None if sealing is off. Raises SettingsUnusable."""
    signers = load_signers(settings)
    if not signers:
        return None
    return Sealer(
        conninfo,
        identity,
        signers,
        feed.wait_past,
        settings.seal,
        check_connection=feed.check_connection,
        statement_timeout_ms=settings.store.statement_timeout_ms,
        connections=log.monitor.connections,
    )
