"""The secret that signs development tokens: of the settings, or else of the data directory."""

from callsheet.development_secret import development_secret
from callsheet.settings.load import Settings
from domain.setting_types import SigningSecret


def secret_of(settings: Settings) -> SigningSecret:
    """Give the secret of the settings, or the one that the data directory keeps."""
    return settings.identity.jwt_secret or development_secret(settings.data.directory)
