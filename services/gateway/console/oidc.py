"""Signing in by OpenID Connect: the authorization code flow with PKCE (RFC 7636), state and nonce.

The provider says who somebody is by a mail address that it has verified; whether that person is a
reviewer, the directory says. What must be remembered until they come back is sealed in a cookie of
its own, so that only the browser that left can come back.
"""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import OAuth
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from itsdangerous import BadData, URLSafeTimedSerializer
from joserfc.errors import JoseError

from safeguards_runtime.records import Refusal
from safeguards_runtime.records.account import SignInMethod
from safeguards_runtime.settings import Settings
from services.gateway.console.session import own_path
from services.gateway.console.sign_in import address_of, begin, sign_in_page
from services.gateway.pages import HEADERS
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/sign-in/oidc", include_in_schema=False)

COOKIE = "__Host-safeguards-oidc"
TRIP_SECONDS = 10 * 60
"""How long somebody may take to sign in at the provider."""

ANSWER_SECONDS = 10.0
"""How long the provider may take to answer us."""

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA", "Ed25519", "RS384", "RS512", "PS384", "PS512",
              "ES384", "ES512")  # fmt: skip
"""What an ID token may be signed with: nothing that a client could sign itself, nor `none`."""


class ProviderError(Exception):
    """Somebody cannot sign in through the provider; the message is for them."""


class Person(NamedTuple):
    """Who somebody is, by the provider's word."""

    email: str
    is_verified: bool


class OpenIdProvider:
    """The operator's OpenID provider.

    Args:
        settings: with `oidc_issuer`, `oidc_client_id` and perhaps `oidc_client_secret`.
        secret: seals what is remembered of those who are on their way.
    """

    def __init__(self, settings: Settings, secret: str) -> None:
        assert settings.oidc_issuer is not None  # noqa: S101 - who makes one has looked
        self._issuer = settings.oidc_issuer
        self._client_id = settings.oidc_client_id
        self._redirect_uri = f"{settings.public_url.rstrip('/')}/sign-in/oidc/callback"
        client_secret = settings.oidc_client_secret
        self._client: Any = OAuth().register(
            "oidc",
            client_id=self._client_id,
            client_secret=client_secret.get_secret_value() if client_secret else None,
            # OpenID Connect Discovery 1.0 section 4
            server_metadata_url=f"{self._issuer.rstrip('/')}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid email",
                "code_challenge_method": "S256",
                "timeout": ANSWER_SECONDS,
            },
        )
        self._seals = URLSafeTimedSerializer(
            secret, salt="oidc", signer_kwargs={"digest_method": hashlib.sha256}
        )

    async def leave(self, request: Request, wanted: str) -> Response:
        """Return the way to the provider, for a browser that is to come back to `wanted`.

        Raises:
            ProviderError: it cannot be reached, or is not as it must be.
        """
        request.scope["session"] = {}
        try:
            await self._check_metadata()
            gone: Response = await self._client.authorize_redirect(request, self._redirect_uri)
        except (httpx2.HTTPError, RuntimeError, ValueError) as error:
            log.error("the OpenID provider cannot be used", error=str(error))
            raise ProviderError("It cannot be reached just now. Try again in a while.") from None
        response = RedirectResponse(gone.headers["location"], 303, HEADERS)
        remembered = self._seals.dumps([wanted, request.scope["session"]])
        response.set_cookie(
            COOKIE, str(remembered), TRIP_SECONDS, path="/", secure=True, httponly=True,
            samesite="lax",
        )  # fmt: skip
        return response

    def remembered(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return where somebody wants to go, and what they left with.

        Raises:
            ProviderError: this browser has not left, or long ago.
        """
        try:
            kept = request.cookies.get(COOKIE, "")
            wanted, session = self._seals.loads(kept, max_age=TRIP_SECONDS)
        except (BadData, ValueError, TypeError):
            raise ProviderError(
                "It was not begun in this browser, or took more than ten minutes. Begin anew."
            ) from None
        return own_path(wanted), session

    async def person(self, request: Request, session: dict[str, Any]) -> Person:
        """Return who has come back.

        Raises:
            ProviderError: nobody, or it cannot be told who.
        """
        request.scope["session"] = session
        claims_options = {
            "iss": {"essential": True, "values": [self._issuer]},
            "aud": {"essential": True, "values": [self._client_id]},
        }
        try:
            await self._check_metadata()
            token = await self._client.authorize_access_token(
                request, claims_options=claims_options, leeway=60
            )
            claims = token.get("userinfo")
            if claims is None:
                raise ValueError("there is no ID token in the provider's answer")
            if "email" not in claims:
                claims = await self._asked(token, claims["sub"])
        except AuthlibBaseError as error:
            log.warning("signing in by OpenID Connect has failed", error=str(error))
            raise ProviderError(_words(error.error)) from None
        except (httpx2.HTTPError, JoseError, RuntimeError, ValueError, KeyError) as error:
            log.error("the OpenID provider's answer is refused", error=str(error))
            raise ProviderError("Its answer was not as it should be. Try again.") from None
        return Person(str(claims.get("email", "")), claims.get("email_verified") is True)

    async def _asked(self, token: dict[str, Any], subject: str) -> dict[str, Any]:
        """Return the claims that the provider tells only where it is asked for them, if they are
        about the same person (OpenID Connect Core 1.0 section 5.3.2)."""
        claims: dict[str, Any] = await self._client.userinfo(token=token)
        if claims.get("sub") != subject:
            raise ValueError("the provider told of somebody else")
        return claims

    async def _check_metadata(self) -> None:
        """Refuse a provider that is another than was asked for, or that sends us elsewhere without
        encryption (OpenID Connect Discovery 1.0 section 4.3)."""
        metadata = await self._client.load_server_metadata()
        try:
            if metadata.get("issuer") != self._issuer:
                raise ValueError(
                    f"its issuer is {metadata.get('issuer')!r}; SAFEGUARDS_OIDC_ISSUER is "
                    f"{self._issuer!r}"
                )
            schemes = {"https", urlsplit(self._issuer).scheme}
            for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
                if urlsplit(str(metadata.get(name, ""))).scheme not in schemes:
                    raise ValueError(f"its {name} is {metadata.get(name)!r}")
        except ValueError:
            metadata.pop("_loaded_at", None)  # so that it is read anew when it has been mended
            raise
        signed_with = metadata.get("id_token_signing_alg_values_supported", ["RS256"])
        usable = [name for name in signed_with if name in ALGORITHMS]
        metadata["id_token_signing_alg_values_supported"] = usable or ["RS256"]


def _words(code: str | None) -> str:
    if code == "access_denied":
        return "You did not let it tell us who you are."
    if code == "mismatching_state":
        return "It was not begun in this window. Begin anew."
    return "It refused. Try again, or ask whoever looks after Safeguards."


@router.get("")
async def leave(request: Request, gateway: Gateway) -> Response:
    """Send the browser to the provider."""
    wanted = own_path(request.query_params.get("next"))
    try:
        return await _provider(gateway).leave(request, wanted)
    except ProviderError as error:
        return _failed(gateway, request, wanted, str(error), 502)


@router.get("/callback")
async def come_back(request: Request, gateway: Gateway) -> Response:
    """Begin the session of who comes back from the provider."""
    provider, wanted = _provider(gateway), "/console"
    try:
        wanted, session = provider.remembered(request)
        person = await provider.person(request, session)
        response = await _begin(gateway, request, person, wanted)
    except (ProviderError, Refusal) as error:
        response = _failed(gateway, request, wanted, str(error), 403)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


async def _begin(gateway: Parts, request: Request, person: Person, wanted: str) -> Response:
    """Begin the session of a person who is a reviewer.

    Raises:
        ProviderError: they are not, or the address may be somebody else's.
    """
    if not person.email:
        raise ProviderError("It did not tell us your mail address.")
    if not person.is_verified:
        raise ProviderError(f"It has not verified that {person.email[:254]} is your address.")
    reviewer = gateway.directory.by_email(person.email)
    if reviewer is None:
        log.warning("somebody who is no reviewer wanted to sign in", address=address_of(request))
        raise ProviderError(f"Nobody with the address {person.email[:254]} is a reviewer here.")
    return await begin(gateway, request, reviewer, SignInMethod.OIDC, wanted)


def _failed(gateway: Parts, request: Request, wanted: str, why: str, status: int) -> Response:
    words = f"You could not sign in with {gateway.settings.oidc_name}. {why}"
    return sign_in_page(gateway, request, wanted, error=words, status=status)


def _provider(gateway: Parts) -> OpenIdProvider:
    if gateway.openid_provider is None:
        raise Problem(404, "not_found", "there is no OpenID provider: SAFEGUARDS_OIDC_ISSUER")
    return gateway.openid_provider
