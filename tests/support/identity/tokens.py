"""Tokens of an issuer whose keys are in a file: good ones, and any bad one, built part by part."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from domain.ids import from_uuid
from gateway.identity.issuers import Algorithm, Issuer

ISSUER: Final = "https://id.callsheet.test"
AUDIENCE: Final = "https://callsheet.test"

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey
CREATE: Final[Mapping[Algorithm, Any]] = {
    Algorithm.RS256: lambda: generate_rsa_key(65_537, 2_048),
    Algorithm.PS256: lambda: generate_rsa_key(65_537, 2_048),
    Algorithm.ES256: lambda: generate_private_key(SECP256R1()),
    Algorithm.EDDSA: Ed25519PrivateKey.generate,
}


def encode_part(value: object) -> str:
    """Return a part of a token: JSON of a value, or a text as it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return encode_bytes(text.encode())


def encode_bytes(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class FileIssuer:
    """An issuer whose public keys are in a file, and its private keys."""

    def __init__(self, folder: Path, workspace_id: UUID) -> None:
        """Create a key for each algorithm, with the algorithm as its id."""
        self.workspace = from_uuid("ws", workspace_id)
        self.keys: dict[Algorithm, PrivateKey] = {algorithm: create() for algorithm, create in CREATE.items()}
        self.path = folder / "keys.json"
        self.publish()

    @property
    def trust(self) -> Issuer:
        """Return the settings of this issuer."""
        return Issuer(issuer=ISSUER, audience=AUDIENCE, algorithms=tuple(Algorithm), jwks_file=str(self.path))

    def publish(self) -> None:
        """Write the public keys."""
        self.path.write_text(json.dumps({"keys": [self.describe_key(algorithm) for algorithm in self.keys]}))

    def describe_key(self, algorithm: Algorithm) -> dict[str, Any]:
        """Return the public key of an algorithm as a JWK."""
        public: Any = self.keys[algorithm].public_key()
        fields = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
        return {**fields, "kid": algorithm.value, "alg": algorithm.value, "use": "sig"}

    def read_public_pem(self, algorithm: Algorithm) -> bytes:
        """Return a public key as text, which confused verifiers take for an HMAC secret."""
        return self.keys[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def claims(self, **changed: object) -> dict[str, Any]:
        """Return acceptable claims with changes; None removes one."""
        now = datetime.now(UTC).timestamp()
        whole: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "usr_ada",
            "workspace": self.workspace,
            "iat": now,
            "exp": now + 600,
            **changed,
        }
        return {name: value for name, value in whole.items() if value is not None}

    def sign(
        self,
        header: object = None,
        claims: object = None,
        *,
        algorithm: Algorithm = Algorithm.ES256,
        key: PrivateKey | None = None,
    ) -> str:
        """Return a token whose signature is right, whatever its header and claims are (a text is used as it is)."""
        named = {"alg": algorithm.value, "kid": algorithm.value} if header is None else header
        signed = f"{encode_part(named)}.{encode_part(self.claims() if claims is None else claims)}"
        signer = jwt.get_algorithm_by_name(algorithm)
        return f"{signed}.{encode_bytes(signer.sign(signed.encode(), key or self.keys[algorithm]))}"

    def sign_with(self, **headers: object) -> str:
        """Return a token with more header fields; its signature is right."""
        return self.sign({"alg": "ES256", "kid": "ES256", **headers})

    def sign_claims(self, **changed: object) -> str:
        """Return a token with other claims; its signature is right."""
        return self.sign(claims=self.claims(**changed))

    def sign_hmac(self, secret: bytes, header: Mapping[str, object]) -> str:
        """Return a token that is signed with HMAC, by whatever its header says."""
        signed = f"{encode_part(dict(header))}.{encode_part(self.claims())}"
        return f"{signed}.{encode_bytes(hmac.digest(secret, signed.encode(), hashlib.sha256))}"
