"""The safeguard for credentials and permissions: who may get in, and what they may do."""

from __future__ import annotations

from typing import Any, ClassVar

from safeguards.plugins.action_words import action_words, name_words, only_reads, singular
from safeguards.plugins.arguments import TooMuchError, walk
from safeguards.plugins.base import Safeguard
from safeguards.plugins.names import spellings
from safeguards.plugins.texts import about, at, folded, places, unsearchable
from safeguards.types import Agent, AlertSeverity, SafetyAlert

_CHANGES = frozenset(
    [
        "activate",
        "add",
        "allow",
        "approve",
        "assign",
        "bypass",
        "change",
        "create",
        "deactivate",
        "delete",
        "demote",
        "detach",
        "disable",
        "edit",
        "enable",
        "generate",
        "give",
        "issue",
        "make",
        "modify",
        "open",
        "patch",
        "promote",
        "put",
        "regenerate",
        "register",
        "remove",
        "renew",
        "replace",
        "request",
        "reset",
        "restore",
        "rotate",
        "save",
        "send",
        "set",
        "setup",
        "store",
        "switch",
        "transfer",
        "turn",
        "unlock",
        "unset",
        "update",
        "upgrade",
        "write",
    ]
)
_CREDENTIALS = frozenset(
    [
        "password",
        "passwd",
        "passphrase",
        "passcode",
        "passkey",
        "pwd",
        "pin",
        "credential",
        "secret",
        "mfa",
        "2fa",
        "totp",
        "otp",
        "sso",
        "apikey",
        "certificate",
        "cert",
        "sshkey",
        "login",
        "recovery",
    ]
)
_KEYS = frozenset(
    [
        "api",
        "ssh",
        "access",
        "secret",
        "private",
        "signing",
        "encryption",
        "gpg",
        "deploy",
        "public",
        "service",
        "kms",
    ]
)
_RIGHTS = frozenset(
    [
        "permission",
        "role",
        "access",
        "privilege",
        "acl",
        "owner",
        "ownership",
        "admin",
        "administrator",
        "visibility",
        "sharing",
        "iam",
        "entitlement",
        "authorization",
        "whitelist",
        "allowlist",
        "firewall",
    ]
)
_PEOPLE = frozenset(
    [
        "user",
        "member",
        "collaborator",
        "guest",
        "admin",
        "account",
        "contributor",
        "teammate",
        "reviewer",
    ]
)
_JOINING = frozenset(
    [
        "add",
        "create",
        "delete",
        "remove",
        "invite",
        "register",
        "enroll",
        "onboard",
        "offboard",
        "ban",
        "suspend",
    ]
)
_ALWAYS = {
    "grant": "gives rights",
    "revoke": "takes rights",
    "invite": "lets somebody in",
    "share": "shares with somebody",
    "unshare": "changes who shares it",
    "promote": "gives rights",
    "elevate": "gives rights",
    "impersonate": "acts as somebody else",
    "chmod": "changes permissions",
    "chown": "changes an owner",
    "sudo": "gives rights",
}
_VERBS = _CHANGES | _JOINING | _ALWAYS.keys()

_RANKS = frozenset({"role", "permission", "privilege", "access", "right", "scope", "level", "acl"})
_HIGH = frozenset(
    [
        "admin",
        "administrator",
        "owner",
        "root",
        "superuser",
        "superadmin",
        "sysadmin",
        "full",
        "all",
        "write",
        "writer",
        "editor",
        "edit",
        "rw",
        "rwx",
        "manage",
        "manager",
        "maintainer",
        "public",
        "anyone",
        "everyone",
        "777",
        "0777",
        "*",
    ]
)
_PUBLIC_FIELDS = frozenset(
    {
        "public",
        "is_public",
        "make_public",
        "anyone_with_link",
        "anyone_with_the_link",
        "publicly_visible",
    }
)
_PUBLIC_WORDS = frozenset(
    {"visibility", "sharing", "acl", "access", "permission", "audience", "privacy"}
)
_PUBLIC = frozenset(
    [
        "public",
        "public_read",
        "public_read_write",
        "anyone",
        "anyone_with_link",
        "anyone_with_the_link",
        "everyone",
        "anonymous",
        "world",
        "unrestricted",
        "allusers",
    ]
)
_TRUE = frozenset({"true", "yes", "1", "on"})
_LONGEST = 60


class CredentialsSafeguard(Safeguard):
    """Alerts on what changes a password, a key or a second factor, a permission, a role or an
    owner, on what lets somebody in, and on what is made public.

    It goes by the words of the action's type, and by arguments such as `role: admin`.
    """

    name: ClassVar[str] = "credentials"

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR for each such change."""
        facts = about(self.name, agent, context)
        action_type = str(context.get("action_type"))
        words = action_words(action_type, _VERBS)
        alerts = []
        told = _told_by_type(words)
        if told:
            title, story = told
            description = f"{facts['action_type']} {story}."
            alerts.append(SafetyAlert(title, description, AlertSeverity.ERROR, facts))
        if only_reads(action_type):
            return alerts
        found: dict[tuple[str, str], list[str]] = {}
        try:
            for pointer, key, value in walk(context):
                told = _told_by_argument(key or "", value, words) if pointer else None
                if told and told[0] not in {alert.title for alert in alerts}:
                    found.setdefault(told, []).append(pointer)
        except TooMuchError:
            return [*alerts, unsearchable(facts, "changes of permissions")]
        return alerts + [
            SafetyAlert(
                title=title,
                description=f"It {story}, {at(shown)}.",
                severity=AlertSeverity.ERROR,
                metadata={**facts, "places": shown},
            )
            for (title, story), pointers in found.items()
            if (shown := places(pointers))
        ]


def _told_by_type(words: frozenset[str]) -> tuple[str, str] | None:
    """Return the title and the story of what the words of an action's type say, if anything."""
    things = singular(words)
    if words & _CHANGES:
        if things & _CREDENTIALS or ("key" in things and things & _KEYS) or _is_token(things):
            return "Credential change", "changes how somebody gets in"
        if things & _RIGHTS:
            return "Permission change", "changes who may do what"
    if words & _JOINING and things & _PEOPLE:
        return "Account change", "changes who belongs to it"
    always = next((_ALWAYS[word] for word in sorted(words) if word in _ALWAYS), None)
    return ("Permission change", always) if always else None


def _is_token(things: frozenset[str]) -> bool:
    return "token" in things and things.isdisjoint({"count", "page", "max", "text"})


def _told_by_argument(key: str, value: Any, words: frozenset[str]) -> tuple[str, str] | None:
    """Return the title and the story of what an argument says, if anything."""
    if not key or len(key) > _LONGEST or isinstance(value, dict):
        return None
    said = singular(name_words(key))
    if value and words & _CHANGES and said & _CREDENTIALS - {"login", "recovery"}:
        return "Credential change", "changes how somebody gets in"
    for item in value[:20] if isinstance(value, list | tuple) else [value]:
        plain = folded(str(item)[:_LONGEST]).strip().casefold() if item is not None else ""
        if plain in _TRUE and not _PUBLIC_FIELDS.isdisjoint(spellings(key)):
            return "Made public", "is shown to everybody"
        if said & _PUBLIC_WORDS and not _PUBLIC.isdisjoint(spellings(plain)):
            return "Made public", "is shown to everybody"
        if said & _RANKS and plain in _HIGH:
            return "Permission change", "gives high rights"
    return None
