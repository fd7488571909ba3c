"""Changes that commands for development make to the settings."""

from msgspec.structs import replace

from callsheet.settings.load import Settings


def accept_development_tokens(settings: Settings) -> Settings:
    """Return the settings with development tokens accepted, besides those of issuers."""
    return replace(settings, identity=replace(settings.identity, development_tokens=True))
