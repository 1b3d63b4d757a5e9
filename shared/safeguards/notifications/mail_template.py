"""A template of one's own for the HTML part of mails (Jinja2). Needs the extra `email`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safeguards.errors import ConfigurationError, MissingExtraError
from safeguards.notifications import rendering
from safeguards.notifications.mail_page import without_links
from safeguards.notifications.message import Link, Message
from safeguards.text import visible

if TYPE_CHECKING:
    from jinja2 import Template

logger = logging.getLogger("safeguards.notifications")

_MAX_PAGE_LENGTH = 1_000_000


class MailTemplate:
    """A Jinja2 template, in a sandbox, escaping, and strict about names that are not there.

    It is given only texts in which hidden characters were made visible, shortened as on the
    built-in page: `subject`, `severity` (INFO, WARNING, ERROR, CRITICAL), `facts` (pairs of label
    and value), `cautions`, `agent_words`, `reasons`, `link` (with `label` and `url`, or none),
    `footer`, `entries` (of a digest; each with `subject`, `severity`, `facts`, `link`, `footer`)
    and `left_out` (a number). The filter `without_links` also keeps mail programs from making
    links of what looks like an address, and keeps line breaks: `{{ agent_words|without_links }}`.
    """

    def __init__(self, template: Template, path: Path) -> None:
        self._template = template
        self._path = path

    @classmethod
    def read(cls, path: Path) -> MailTemplate:
        """Return the template in the file `path`.

        Raises:
            ConfigurationError: if it cannot be read or parsed, or uses a name that it is not given.
            MissingExtraError: if jinja2 is not installed.
        """
        try:
            import jinja2.meta
            import jinja2.sandbox
            from markupsafe import Markup
        except ImportError as error:
            raise MissingExtraError("EmailChannel with 'html_template'", "email") from error
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            autoescape=True, undefined=jinja2.StrictUndefined
        )
        # What it returns is escaped.
        environment.filters["without_links"] = lambda text: Markup(without_links(str(text)))  # noqa: S704
        try:
            source = path.read_text("utf-8")
            used = jinja2.meta.find_undeclared_variables(environment.parse(source))
            template = environment.from_string(source)
        except jinja2.TemplateSyntaxError as error:
            raise _wrong(f"{path}, line {error.lineno}: {error.message}") from None
        except OSError as error:
            raise _wrong(f"{path} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise _wrong(f"{path} is not UTF-8") from None
        known = _values(Message(event="", subject="")).keys()
        unknown = sorted(used - known - environment.globals.keys())
        if unknown:
            raise _wrong(
                f"{path} uses {', '.join(unknown)}: there are only {', '.join(sorted(known))}"
            )
        return cls(template, path)

    def page(self, message: Message) -> str | None:
        """Return the page for `message`; None, which is logged, if the template errs."""
        try:
            page = self._template.render(_values(message))
        except Exception as error:  # whatever it is, the mail goes out
            problem = f"{type(error).__name__}: {error}"
        else:
            if page.strip() and len(page) <= _MAX_PAGE_LENGTH:
                return page
            problem = f"the page has {len(page)} characters"
        logger.error(
            "the template %s failed for %s, the built-in page is sent instead: %s",
            self._path,
            message.id,
            visible(problem, single_line=True, limit=300),
        )
        return None


def _values(message: Message) -> dict[str, Any]:
    return {
        "subject": rendering.subject(message),
        "severity": message.severity.value,
        "facts": rendering.facts(message),
        "cautions": rendering.cautions(message),
        "agent_words": rendering.words(message),
        "reasons": rendering.reasons(message),
        "link": _link(message.link),
        "footer": rendering.footer(message),
        "entries": [_entry(entry) for entry in rendering.entries(message)],
        "left_out": rendering.left_out(message),
    }


def _entry(entry: Message) -> dict[str, Any]:
    return {
        "subject": rendering.subject(entry),
        "severity": entry.severity.value,
        "facts": rendering.entry_facts(entry),
        "link": _link(entry.link),
        "footer": rendering.footer(entry),
    }


def _link(link: Link | None) -> dict[str, str] | None:
    if link is None:
        return None
    label = visible(link.label, single_line=True, limit=rendering.LABEL_LIMIT)
    return {"label": label, "url": link.url}


def _wrong(problem: str) -> ConfigurationError:
    return ConfigurationError(f"EmailChannel: the key 'html_template' is wrong: {problem}")
