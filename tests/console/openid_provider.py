"""A real OpenID provider for tests: django-oauth-toolkit, in a process of its own.

    python -m tests.console.openid_provider PORT FOLDER REDIRECT_URI

Its people sign in with their name and the password `let me in`; it asks each whether they want to
tell who they are.
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

PEOPLE: dict[str, tuple[str, bool]] = {
    "alex": ("Alex@Example.com", True),
    "sam": ("sam@example.com", True),
    "kim": ("kim@example.com", False),
    "mallory": ("mallory@elsewhere.example", True),
}
"""Each one's mail address, and whether the provider has verified it."""

PASSWORD = "let me in"
CLIENT_ID = "safeguards"
CLIENT_SECRET = "between the two of us"

LOGIN = """<!doctype html><title>The provider</title><form method="post">{% csrf_token %}
{{ form.as_p }}<input type="hidden" name="next" value="{{ next }}"><button>Log in</button></form>"""


def configure(folder: Path) -> None:
    """Set Django up. Everything of it is imported after this."""
    import django
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from django.conf import settings

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    templates = {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
    own = {**templates, "APP_DIRS": False}
    own["OPTIONS"] = {
        "loaders": [("django.template.loaders.locmem.Loader", {"login.html": LOGIN})],
    }
    own["NAME"] = "own"
    settings.configure(
        SECRET_KEY="only for tests",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF="tests.console.openid_provider_urls",
        USE_TZ=True,
        LOGIN_URL="/login",
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "provider.sqlite"),
                "OPTIONS": {"timeout": 20},
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[own, templates],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        SESSION_COOKIE_NAME="provider",
        CSRF_COOKIE_NAME="provider-csrf",
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": pem.decode(),
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who you are", "email": "your mail address"},
            "OAUTH2_VALIDATOR_CLASS": "tests.console.openid_provider_urls.Claims",
        },
    )
    django.setup()


def fill(redirect_uri: str) -> None:
    """Make the tables, the people and the client."""
    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from oauth2_provider.models import get_application_model

    call_command("migrate", verbosity=0)
    for name, (email, _) in PEOPLE.items():
        get_user_model().objects.create_user(name, email, PASSWORD)
    applications = get_application_model()
    for client_id, kind in ((CLIENT_ID, "confidential"), ("public", "public")):
        applications.objects.create(
            name="Safeguards",
            client_id=client_id,
            client_secret=CLIENT_SECRET,
            client_type=kind,
            authorization_grant_type="authorization-code",
            redirect_uris=redirect_uri,
            algorithm="RS256",
        )


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


def main(port: int, folder: Path, redirect_uri: str) -> None:
    """Serve until the process is ended."""
    configure(folder)
    fill(redirect_uri)
    from django.core.wsgi import get_wsgi_application

    with make_server("127.0.0.1", port, get_wsgi_application(), _Server, _Quiet) as server:
        print("the provider is there")
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
