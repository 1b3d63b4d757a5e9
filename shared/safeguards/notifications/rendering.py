"""A message as plain text, as HTML, and as one line. Pure functions.

Every text in a message may come from an agent: it goes through `visible`, is escaped, and stays
where it can be told from ours.
"""

from __future__ import annotations

import html
import json
import re

from safeguards.notifications.message import Message
from safeguards.text import visible
from safeguards.types import AlertSeverity

SUBJECT_LIMIT = 200
LABEL_LIMIT = 100
VALUE_LIMIT = 2_000
WORDS_LIMIT = 10_000
MAX_FACTS = 40
MAX_REASONS = 20

REASONS_TITLE = "Why you are asked"

# Background and text of the severity's badge; each pair has a contrast of at least 4.5 to 1.
_COLOURS = {
    AlertSeverity.INFO: ("#1d4ed8", "#ffffff"),
    AlertSeverity.WARNING: ("#f5b83d", "#3d2b00"),
    AlertSeverity.ERROR: ("#c2410c", "#ffffff"),
    AlertSeverity.CRITICAL: ("#b91c1c", "#ffffff"),
}

_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"

# Mail programs turn what looks like an address into a link. An element inside of it stops that,
# and is not part of the text when it is copied.
_LINK_LIKE = re.compile(r"(?<=\w)(?:\.(?=[^\W\d_])|:(?=//)|@)")


def subject(message: Message, limit: int = SUBJECT_LIMIT) -> str:
    """Return the subject as one safe line of at most `limit` characters."""
    return visible(message.subject, single_line=True, limit=limit)


def words_title(message: Message) -> str:
    """Return the label of the box with the agent's words; an alert's are a safeguard's."""
    return "Details" if message.event.startswith("alert.") else "In the agent's own words"


def facts(message: Message, limit: int = VALUE_LIMIT) -> list[tuple[str, str]]:
    """Return the facts, made visible and shortened; a last one says how many were left out."""
    shown = [
        (visible(label, single_line=True, limit=LABEL_LIMIT), visible(value, limit=limit))
        for label, value in message.facts[:MAX_FACTS]
    ]
    left_out = len(message.facts) - len(shown)
    return [*shown, ("…", f"and {left_out} more")] if left_out else shown


def reasons(message: Message, limit: int = VALUE_LIMIT) -> list[str]:
    """Return the reasons, one safe line each; a last one says how many were left out."""
    shown = [visible(r, single_line=True, limit=limit) for r in message.reasons[:MAX_REASONS]]
    left_out = len(message.reasons) - len(shown)
    return [*shown, f"… and {left_out} more"] if left_out else shown


def quoted(text: str, mark: str) -> str:
    """Return `text` with `mark` before each of its lines, so that none can pass for ours."""
    return "\n".join(f"{mark}{line}".rstrip() for line in text.split("\n"))


def one_line(message: Message) -> str:
    """Return the message as one line, for logs; values are quoted as in JSON.

    Without the link, which may hold a secret.
    """
    pairs = [
        *facts(message),
        (words_title(message), visible(message.agent_words, limit=VALUE_LIMIT)),
    ]
    pairs += [("reason", reason) for reason in reasons(message)]
    parts = [f"{label}: {json.dumps(value, ensure_ascii=False)}" for label, value in pairs if value]
    return " | ".join([subject(message), *parts])


def text(message: Message) -> str:
    """Return the message as plain text, for the text part of a mail."""
    title = subject(message)
    blocks = [f"{title}\n{'=' * min(len(title), 72)}"]
    if message.facts:
        blocks.append("\n".join(_text_fact(label, value) for label, value in facts(message)))
    if message.reasons:
        listed = "\n".join(f"- {reason}" for reason in reasons(message))
        blocks.append(f"{REASONS_TITLE}:\n{listed}")
    if message.agent_words:
        words = quoted(visible(message.agent_words, limit=WORDS_LIMIT), "> ")
        blocks.append(f"{words_title(message)}:\n{words}")
    if message.link:
        blocks.append(f"{visible(message.link.label, single_line=True)}:\n{message.link.url}")
    if message.footer:
        blocks.append(f"-- \n{visible(message.footer, single_line=True, limit=VALUE_LIMIT)}")
    return "\n\n".join(blocks) + "\n"


def _text_fact(label: str, value: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([f"{label}: {first}", *(f"    | {line}" for line in rest)])


def html_page(message: Message) -> str:
    """Return the message as an HTML page, for the HTML part of a mail.

    Styles stand in the elements, since many mail programs drop all others; the style sheet only
    adds the dark colours. Nothing is loaded from elsewhere.
    """
    title = _escaped(subject(message))
    # A mail program shows the page's first words in its list.
    rows = [_badge(message), _heading(title), _facts_table(message), _reasons_list(message)]
    rows += [_words_box(message), _button(message), _footer(message)]
    bar = _COLOURS[message.severity][0]
    body = "\n".join(row for row in rows if row)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no, date=no, address=no, email=no, url=no">
<title>{title}</title>
<style>{_DARK}</style>
</head>
<body class="sg-page" style="margin:0;padding:0;background:#eef1f5;">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0">
<tr><td align="center" style="padding:24px 12px;">
<table role="presentation" class="sg-card" width="100%" cellpadding="0" cellspacing="0" border="0"
 style="max-width:600px;background:#ffffff;border:1px solid #d8dee6;border-top:4px solid {bar};
border-radius:10px;font-family:{_FONT};color:#1b2430;text-align:left;">
{body}
</table>
</td></tr>
</table>
</body>
</html>
"""


_DARK = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (prefers-color-scheme:dark){
.sg-page{background:#12161c!important}
.sg-card{background:#1b2129!important;color:#e8edf3!important;
border-left-color:#323b47!important;border-right-color:#323b47!important;
border-bottom-color:#323b47!important}
.sg-ink{color:#e8edf3!important}
.sg-soft{color:#a7b3c1!important}
.sg-line{border-color:#323b47!important}
.sg-box{background:#232b35!important;border-color:#5b6878!important}
.sg-button{background:#4f8dfb!important;color:#0b1220!important}
}
"""

_SMALL = "font-size:13px;line-height:21px;color:#566273;"
_BODY = "font-size:15px;line-height:23px;color:#1b2430;"
_WRAP = "overflow-wrap:anywhere;word-break:break-word;"


def _row(content: str, padding: str) -> str:
    return f'<tr><td style="padding:{padding};">{content}</td></tr>'


def _badge(message: Message) -> str:
    background, colour = _COLOURS[message.severity]
    return _row(
        f'<span style="display:inline-block;padding:2px 10px;border-radius:999px;'
        f"background:{background};color:{colour};font-size:12px;line-height:18px;"
        f'font-weight:700;letter-spacing:.04em;">{message.severity.value}</span>',
        "22px 24px 0",
    )


def _heading(title: str) -> str:
    style = f"margin:0;font-size:21px;line-height:29px;font-weight:700;color:#1b2430;{_WRAP}"
    return _row(f'<h1 class="sg-ink" style="{style}">{title}</h1>', "10px 24px 16px")


def _facts_table(message: Message) -> str:
    if not message.facts:
        return ""
    line = "border-top:1px solid #e3e8ee;padding:9px 0;vertical-align:top;"
    rows = "".join(
        f'<tr><th scope="row" class="sg-soft sg-line" align="left" style="{line}{_SMALL}'
        f'font-weight:400;width:34%;padding-right:16px;{_WRAP}">{_escaped(label)}</th>'
        f'<td class="sg-ink sg-line" style="{line}{_BODY}font-weight:600;{_WRAP}">'
        f"{_escaped(value)}</td></tr>"
        for label, value in facts(message)
    )
    table = '<table width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%;'
    return _row(f'{table}border-collapse:collapse;">{rows}</table>', "0 24px 14px")


def _reasons_list(message: Message) -> str:
    if not message.reasons:
        return ""
    items = "".join(
        f'<li class="sg-ink" style="margin:0 0 6px;{_BODY}{_WRAP}">{_escaped(reason)}</li>'
        for reason in reasons(message)
    )
    listed = f'<ul style="margin:0;padding:0 0 0 20px;">{items}</ul>'
    return _row(_label(REASONS_TITLE) + listed, "6px 24px 12px")


def _words_box(message: Message) -> str:
    if not message.agent_words:
        return ""
    words = _escaped(visible(message.agent_words, limit=WORDS_LIMIT))
    box = (
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr>'
        '<td class="sg-box" style="border:1px dashed #8a97a8;border-radius:8px;'
        f'background:#f6f8fa;padding:12px 14px;"><div class="sg-ink" style="{_BODY}{_WRAP}">'
        f"{words}</div></td></tr></table>"
    )
    return _row(_label(words_title(message)) + box, "6px 24px 14px")


def _button(message: Message) -> str:
    if message.link is None:
        return ""
    url = html.escape(message.link.url, quote=True)
    label = html.escape(visible(message.link.label, single_line=True, limit=LABEL_LIMIT))
    style = (
        "display:inline-block;padding:13px 26px;border-radius:8px;background:#1d4ed8;"
        "color:#ffffff;font-size:16px;line-height:22px;font-weight:700;text-decoration:none;"
    )
    button = f'<a class="sg-button" href="{url}" style="{style}">{label}</a>'
    plain = f'<div class="sg-soft" style="{_SMALL}padding-top:12px;{_WRAP}">{url}</div>'
    return _row(button + plain, "10px 24px 20px")


def _footer(message: Message) -> str:
    if not message.footer:
        return _row("", "0 0 10px")
    words = _escaped(visible(message.footer, single_line=True, limit=VALUE_LIMIT))
    return (
        '<tr><td class="sg-line" style="padding:14px 24px 20px;border-top:1px solid #e3e8ee;">'
        f'<div class="sg-soft" style="{_SMALL}">{words}</div></td></tr>'
    )


def _label(title: str) -> str:
    return (
        f'<div class="sg-soft" style="{_SMALL}font-weight:700;padding-bottom:6px;">'
        f"{html.escape(title, quote=False)}</div>"
    )


def _escaped(shown: str) -> str:
    """Return text that was made visible as HTML in which no program finds a link."""
    broken = _LINK_LIKE.sub("\x00\\g<0>", shown)
    return html.escape(broken).replace("\x00", "<wbr>").replace("\n", "<br>")
