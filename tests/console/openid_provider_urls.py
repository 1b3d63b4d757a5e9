"""The pages of the OpenID provider of the tests; imported by Django once it is set up."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import LoginView
from django.urls import include, path
from oauth2_provider.oauth2_validators import OAuth2Validator

from tests.console.openid_provider import PEOPLE


class Claims(OAuth2Validator):
    """Tells of each person what the provider knows of them."""

    oidc_claim_scope = {**OAuth2Validator.oidc_claim_scope, "email_verified": "email"}

    def get_additional_claims(self, request: Any) -> dict[str, Any]:
        """Return the claims beside the subject."""
        email, is_verified = PEOPLE[request.user.username]
        return {"email": email, "email_verified": is_verified}


urlpatterns = [
    path("login", LoginView.as_view(template_name="login.html")),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]
