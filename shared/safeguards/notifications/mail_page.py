"""A message as the HTML part of a mail. Pure functions.

The page is read in ten seconds, on a phone: what is asked, the brief facts, why, until when, and
one button; below it the agent's own words and whatever is long. Styles stand in the elements,
since many mail programs drop all others; the style sheet adds the dark colours and narrow screens.
Nothing is loaded from elsewhere.

Every text in a message may come from an agent: it is made visible, escaped, isolated from the
direction of the text around it, and cut at the edges of its box.
"""

from __future__ import annotations

import html
import re

from safeguards.notifications import rendering
from safeguards.notifications.message import Link, Message
from safeguards.text import visible
from safeguards.types import AlertSeverity

_BRIEF_FACTS = 6
_BRIEF_LENGTH = 80

# Background and text of the severity's badge; each pair has a contrast of at least 4.5 to 1.
_COLOURS = {
    AlertSeverity.INFO: ("#1d4ed8", "#ffffff"),
    AlertSeverity.WARNING: ("#f5b83d", "#3d2b00"),
    AlertSeverity.ERROR: ("#c2410c", "#ffffff"),
    AlertSeverity.CRITICAL: ("#b91c1c", "#ffffff"),
}

_OVER = ("#475569", "#ffffff")

_KINDS = {
    "approval.requested": "Your decision is needed",
    "approval.reminded": "Your decision is still needed",
    "approval.escalated": "Your decision is needed",
    "approval.answered": "Your decision is needed",
    "approval.resolved": "Nothing is left to do",
    "action.resolved": "Nothing is left to do",
    "approval.unreachable": "Nobody could be reached",
    "alert.raised": "For your information",
}

# Mail programs turn what looks like an address into a link. An element inside of it stops that,
# and is not part of the text when it is copied.
_LINK_LIKE = re.compile(r"(?<=\w)(?:\.(?=[^\W\d_])|:(?=//)|@)")

_FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"
_SMALL = "font-size:13px;line-height:19px;color:#566273;"
_BODY = "font-size:15px;line-height:22px;color:#1b2430;"
# The last of them cuts stacks of combining marks off at the edge of their box.
_WRAP = "overflow-wrap:anywhere;word-break:break-word;overflow:hidden;"
# Each line is isolated, and has the direction of its own first letter (UAX #9, rules P2 and P3).
_PARAGRAPHS = "unicode-bidi:plaintext;"
_TABLE = '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'

_STYLE_SHEET = """
:root{color-scheme:light dark;supported-color-schemes:light dark}
@media (max-width:480px){
.sg-outer{padding:8px!important}
.sg-row{padding-left:16px!important;padding-right:16px!important}
.sg-button{display:block!important;text-align:center!important}
}
@media (prefers-color-scheme:dark){
.sg-page{background:#12161c!important}
.sg-card{background:#1b2129!important;color:#e8edf3!important;
border-left-color:#323b47!important;border-right-color:#323b47!important;
border-bottom-color:#323b47!important}
.sg-ink{color:#e8edf3!important}
.sg-soft{color:#a7b3c1!important}
.sg-line{border-color:#323b47!important}
.sg-box{background:#232b35!important;border-color:#5b6878!important}
.sg-note{background:#33290f!important;color:#ffdf9a!important}
.sg-button{background:#4f8dfb!important;color:#0b1220!important}
.sg-plain{background:#1b2129!important;color:#8ab4ff!important;border-color:#8ab4ff!important}
}
"""


def html_page(message: Message) -> str:
    """Return the message as an HTML page, for the HTML part of a mail."""
    every_fact = rendering.facts(message)
    brief = [_brief(fact) for fact in every_fact[:_BRIEF_FACTS]]
    # What was shortened above stands here in full, before the agent's own words.
    rest = [fact for fact in every_fact if fact not in brief]
    # A mail program shows the page's first words in its list.
    rows = [_badge_row(message), _heading(message), _facts_table(brief, "")]
    rows += [_note(f"Careful: {caution}") for caution in rendering.cautions(message)]
    rows += [_reasons_list(message), *map(_entry, rendering.entries(message)), _left_out(message)]
    rows += [_button_row(message), _facts_table(rest, "The rest, in full")]
    rows += [_words_box(message), _ending(message)]
    bar = _badge_of(message)[1]
    body = "\n".join(row for row in rows if row)
    return f"""<!DOCTYPE html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no, date=no, address=no, email=no, url=no">
<title>{html.escape(rendering.subject(message), quote=False)}</title>
<style>{_STYLE_SHEET}</style>
</head>
<body class="sg-page" style="margin:0;padding:0;background:#eef1f5;">
{_TABLE}>
<tr><td class="sg-outer" align="center" style="padding:24px 12px;">
{_TABLE} class="sg-card"
 style="max-width:600px;background:#ffffff;border:1px solid #d8dee6;border-top:4px solid {bar};
border-radius:10px;font-family:{_FONT};color:#1b2430;text-align:left;table-layout:fixed;">
{body}
</table>
</td></tr>
</table>
</body>
</html>
"""


def _brief(fact: tuple[str, str]) -> tuple[str, str]:
    label, value = fact
    return label, visible(value, single_line=True, limit=_BRIEF_LENGTH)


def _row(content: str, padding: str) -> str:
    return f'<tr><td class="sg-row" style="padding:{padding};">{content}</td></tr>'


def _badge_row(message: Message) -> str:
    kind = "Several in one mail" if message.entries else _KINDS.get(message.event, "")
    said = f'<span class="sg-soft" style="{_SMALL}padding-left:8px;">{kind}</span>' if kind else ""
    return _row(_badge(message) + said, "18px 24px 0")


def _badge(message: Message) -> str:
    word, background, colour = _badge_of(message)
    return (
        f'<span class="sg-badge" style="display:inline-block;padding:2px 10px;border-radius:999px;'
        f"background:{background};color:{colour};font-size:12px;line-height:18px;"
        f'font-weight:700;letter-spacing:.04em;">{word}</span>'
    )


def _badge_of(message: Message) -> tuple[str, str, str]:
    """Return word, background and colour: the severity's, unless it is over."""
    if message.event.endswith(".resolved"):
        return "OUTCOME", *_OVER
    return message.severity.value, *_COLOURS[message.severity]


def _heading(message: Message) -> str:
    style = f"margin:0;font-size:20px;line-height:26px;font-weight:700;color:#1b2430;{_WRAP}"
    title = _isolated(rendering.subject(message))
    return _row(f'<h1 class="sg-ink" style="{style}">{title}</h1>', "8px 24px 12px")


def _facts_table(rows: list[tuple[str, str]], title: str) -> str:
    if not rows:
        return ""
    line = "border-top:1px solid #e3e8ee;padding:6px 0;vertical-align:top;"
    cells = "".join(
        f'<tr><th scope="row" class="sg-soft sg-line" align="left" style="{line}{_SMALL}'
        f'line-height:22px;font-weight:400;width:34%;padding-right:12px;{_WRAP}">'
        f"{_isolated(label)}</th>"
        f'<td class="sg-ink sg-line sg-value" style="{line}{_BODY}font-weight:600;{_WRAP}">'
        f"{_isolated(value)}</td></tr>"
        for label, value in rows
    )
    table = '<table width="100%" cellpadding="0" cellspacing="0" border="0" style="width:100%;'
    table += f'table-layout:fixed;border-collapse:collapse;">{cells}</table>'
    return _row((_label(title) if title else "") + table, "0 24px 10px")


def _reasons_list(message: Message) -> str:
    if not message.reasons:
        return ""
    items = "".join(
        f'<li class="sg-ink sg-reason" style="margin:0 0 4px;{_BODY}{_WRAP}overflow:visible;">'
        f"{_isolated(reason)}</li>"
        for reason in rendering.reasons(message)
    )
    listed = f'<ul style="margin:0;padding:0 0 0 20px;overflow:hidden;">{items}</ul>'
    return _row(_label(rendering.reasons_title(message)) + listed, "4px 24px 10px")


def _note(sentence: str) -> str:
    note = (
        '<div class="sg-note" style="border-left:4px solid #f5b83d;background:#fff6e0;'
        f"color:#523600;padding:8px 12px;font-size:14px;line-height:20px;font-weight:600;{_WRAP}"
        f'">{_isolated(sentence)}</div>'
    )
    return _row(note, "2px 24px 10px")


def _words_box(message: Message) -> str:
    if not message.agent_words:
        return ""
    is_the_agents = message.words_of == "agent"
    mark = ' <span style="font-weight:400;">(not checked)</span>' if is_the_agents else ""
    box = (
        f'{_TABLE} style="table-layout:fixed;"><tr>'
        '<td class="sg-box" style="border:1px dashed #8a97a8;border-radius:8px;'
        'background:#f6f8fa;padding:10px 14px;">'
        f'<div class="sg-ink sg-words" dir="auto" style="{_BODY}{_WRAP}{_PARAGRAPHS}">'
        f"{without_links(rendering.words(message))}</div></td></tr></table>"
    )
    return _row(_label(rendering.words_title(message), mark) + box, "6px 24px 14px")


def _entry(entry: Message) -> str:
    title = (
        f"margin:6px 0 4px;font-size:16px;line-height:22px;font-weight:700;color:#1b2430;{_WRAP}"
    )
    parts = [
        _badge(entry),
        f'<h2 class="sg-ink" style="{title}">{_isolated(rendering.subject(entry))}</h2>',
    ]
    parts += [
        f'<div class="sg-ink sg-value" style="{_BODY}{_WRAP}">'
        f'<span class="sg-soft" style="color:#566273;">{_isolated(label)}:</span> '
        f"{_isolated(value)}</div>"
        for label, value in rendering.entry_facts(entry)
    ]
    if entry.footer:
        footer = _isolated(rendering.footer(entry))
        parts.append(f'<div class="sg-soft" style="{_SMALL}{_WRAP}padding-top:4px;">{footer}</div>')
    if entry.link:
        parts.append(f'<div style="padding-top:10px;">{_plain_button(entry.link)}</div>')
    bar = _badge_of(entry)[1]
    box = (
        f'{_TABLE} style="table-layout:fixed;"><tr><td class="sg-line" style="border:1px solid '
        f'#d8dee6;border-left:4px solid {bar}!important;border-radius:8px;padding:12px 14px;">'
        f"{''.join(parts)}</td></tr></table>"
    )
    return _row(box, "0 24px 12px")


def _left_out(message: Message) -> str:
    count = rendering.left_out(message)
    if not count:
        return ""
    return _row(f'<div class="sg-ink" style="{_BODY}">and {count} more</div>', "0 24px 12px")


def _button_row(message: Message) -> str:
    """Return what happens if nobody answers, and the button under it."""
    if message.link is None:
        return ""
    style = (
        "display:inline-block;padding:12px 26px;border-radius:8px;background:#1d4ed8;"
        "color:#ffffff;font-size:16px;line-height:22px;font-weight:700;text-decoration:none;"
    )
    note = _note(rendering.footer(message)) if message.footer and not message.entries else ""
    return note + _row(_anchor(message.link, "sg-button", style), "4px 24px 16px")


def _plain_button(link: Link) -> str:
    style = (
        "display:inline-block;padding:8px 16px;border-radius:8px;border:1px solid #1d4ed8;"
        "background:#ffffff;color:#1d4ed8;font-size:14px;line-height:20px;font-weight:700;"
        "text-decoration:none;"
    )
    return _anchor(link, "sg-plain", style)


def _anchor(link: Link, name: str, style: str) -> str:
    label = visible(link.label, single_line=True, limit=rendering.LABEL_LIMIT)
    url = html.escape(link.url, quote=True)
    return f'<a class="{name}" href="{url}" style="{style}">{html.escape(label)}</a>'


def _ending(message: Message) -> str:
    """Return the last row: what else there is to say, and the address behind the button."""
    said = []
    if message.footer and (message.link is None or message.entries):
        said.append(_isolated(rendering.footer(message)))
    if message.link is not None:
        said.append(f"If the button does not work: {html.escape(message.link.url)}")
    if not said:
        return _row("", "0 0 8px")
    return (
        '<tr><td class="sg-row sg-line" style="padding:12px 24px 16px;'
        'border-top:1px solid #e3e8ee;">'
        f'<div class="sg-soft" style="{_SMALL}{_WRAP}">{"<br>".join(said)}</div></td></tr>'
    )


def _label(title: str, mark: str = "") -> str:
    return (
        f'<div class="sg-soft" style="{_SMALL}font-weight:700;padding-bottom:4px;">'
        f"{html.escape(title, quote=False)}{mark}</div>"
    )


def _isolated(shown: str) -> str:
    """Return text that was made visible as HTML whose direction is its own affair (UAX #9)."""
    return f'<span dir="auto" style="{_PARAGRAPHS}">{without_links(shown)}</span>'


def without_links(shown: str) -> str:
    """Return text that was made visible as HTML in which no program finds a link."""
    broken = _LINK_LIKE.sub("\x00\\g<0>", shown)
    return html.escape(broken).replace("\x00", "<wbr>").replace("\n", "<br>")
