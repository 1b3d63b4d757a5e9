"""Reading SQL and shell commands for what they destroy."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from safeguards.errors import MissingExtraError

if TYPE_CHECKING:
    from sqlglot import exp

MAX_READ = 8_000
"""How many characters of SQL are parsed; what is longer is asked about if it changes anything."""

_DIALECTS = ("", "mysql", "postgres", "tsql")
"""What ends a string or a comment differs between these, so a statement is read in each."""

# Said of raw text, quotes and comments included: a quote that one database ends and another does
# not must hide nothing.
_ALWAYS = {
    "drops what a database holds": re.compile(
        r"\bdrop\s+(?:if\s+exists\s+)?(?:table|database|schema|view|materialized|index|column|user"
        r"|role|function|procedure|trigger|sequence|tablespace|constraint|partition|keyspace"
        r"|collection|owned|extension|type|domain|login|policy)\b"
    ),
    "empties a table": re.compile(r"\btruncate\s+(?:table\s+|only\s+)?[\w\"`\[]"),
    "runs what cannot be read": re.compile(
        r"/\*m?!|\b(?:exec|execute)\b\s*(?:immediate\b|\(|@|['\"])|\bxp_cmdshell\b"
        r"|\bprepare\s+\w+\s+(?:from|as)\b|\bdo\s+(?:\$|')"
    ),
    "overwrites files": re.compile(r"\binto\s+(?:out|dump)file\b"),
}
# A word, and one that follows it in the same statement.
_FOLLOWED = {
    "changes what a table holds": (re.compile(r"\balter\s+table\b"), re.compile(r"\bdrop\b")),
    "gives or takes rights": (
        re.compile(r"\b(?:grant|revoke)\b"),
        re.compile(r"\b(?:on|to|from)\b"),
    ),
}
# Not the action of a foreign key or of an upsert.
_UPDATES = (re.compile(r"(?<!\bon )(?<!\bdo )\bupdate\b"), re.compile(r"\bset\b"))
_DELETES = re.compile(r"\bdelete\s+(?!on\b|cascade\b|set\b)(?:from\b|[\w.`\"\[]+)")
_READ_DIFFERENTLY = re.compile(r"[\\#$`\[\"@]|--|/\*")
_SQL = re.compile(
    r"\b(?:select|delete|update|drop|truncate|alter|grant|revoke|exec|execute|merge|prepare|do)\b"
)
_BLOCK = re.compile(r"/\*(?!m?!).*?\*/", re.DOTALL)
_INNER_BLOCK = re.compile(r"/\*(?!m?!)(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/")
_LINE = re.compile(r"--[^\n]*")

_END = r"(?:\s|$|[;&|)\"'`])"
_STORES = re.compile(
    r"^\s*flush(?:all|db)\b|\bdb\.(?:dropdatabase|[\w.]{1,100}\.(?:drop|remove|deletemany))\s*\("
)
_MUTATION = re.compile(r"(?:^(?:\s*+#[^\n]*+)*+|\})\s*+mutation\b")
_WORD = re.compile(r"\w+")

_COMMANDS = {
    "removes files": re.compile(
        r"\brm\s+(?:[^;&|\n]{0,200}?\s)?(?:-[a-z]*[rf]|--recursive|--force|--no-preserve-root)"
        r"|\b(?:shred|srm|rmdir\s+/s|del\s+/[sfq]|remove-item\b[^;|\n]{0,200}-recurse)\b"
        r"|\bfind\b[^;|\n]{0,500}\s-delete\b|\bgit\s+clean\s+-[a-z]*f"
    ),
    "overwrites a disk": re.compile(
        r"\bmkfs(?:\.\w+)?\s|\bdd\s[^;|\n]{0,200}\bof=|>\s*/dev/(?:sd|nvme|hd|disk|xvd)"
        r"|\bwipefs\b|\bdiskpart\b|\bformat\s+[a-z]:"
    ),
    "overwrites history": re.compile(
        r"\bgit\s++(?:-\S++\s++(?:(?!push\b)[^\s-]\S*+\s++)?+){0,3}+push\b[^;&|\n]{0,200}?"
        r"\s(?:--force\b|--force-with-lease\b|-[a-z]*f|--delete\b|-d\b|--mirror\b|--prune\b|\+\S|:\S)"
        r"|\bgit\s+reset\s+--hard\b|\bgit\s+(?:filter-branch|filter-repo)\b|\bgit\s+branch\s+-D"
        r"|\bgit\s+(?:checkout|restore)\s+(?:--\s+)?\." + _END,
    ),
    "destroys infrastructure": re.compile(
        r"\b(?:terraform|tofu|terragrunt|pulumi|cdk|vagrant)\b[^;&|\n]{0,200}?\s-?destroy\b"
        r"|\bkubectl\b[^;&|\n]{0,200}?\s(?:delete|drain)\b|\bhelm\s+(?:uninstall|delete)\b"
        r"|\bdocker\b[^;&|\n]{0,100}?\s(?:rm|rmi|prune|kill)\b|\bcompose\s+down\s[^;&|\n]{0,100}?-v\b"
        r"|\b(?:aws|gcloud|az|doctl|heroku|fly|flyctl)\b[^;&|\n]{0,200}?\s(?:rm|rb|\S*delete\S*"
        r"|terminate\S*|destroy\S*|purge)\b|\bgsutil\s[^;&|\n]{0,100}?\brm\b"
    ),
    "empties a store": re.compile(
        r"\bdrop\s+(?:table|database|schema)\b|\btruncate\s+table\b"
        r"|\bdelete\s+from\s+[\w.`\"]+\s*(?:[;'\"]|$)|"
        r"\bflush(?:all|db)\b|\bdropdb\b|\bdropdatabase\s*\(|\.drop\s*\(|\bdeletemany\s*\(\s*+\{?\s*+\}?\s*+\)"
    ),
    "stops a machine": re.compile(
        r"(?:^|[;&|(\n])[^\S\n]*(?:sudo\s+)?(?:shutdown|reboot|halt|poweroff|init\s+[06])\b|:\(\)\s*\{"
        r"|\bkill(?:all)?\s+-9\b|\bsystemctl\s+(?:stop|disable|mask)\b|\bcrontab\s+-r\b"
    ),
    "deletes in a program": re.compile(
        r"\bshutil\.rmtree\b|\bos\.(?:remove|unlink|removedirs|rmdir)\b|\bfs\.(?:rm|unlink|rmdir)"
        r"|\bfiles\.delete\b|\brm_rf\b|\brimraf\b"
    ),
}
_INSIDE_A_WORD = re.compile(r"(?<=\w)(?:\\|''|\"\")(?=\w)")
# One word that each of the commands has, so that most texts are looked at only once.
_COMMAND_WORDS = re.compile(
    r"\brm|shred|srm\b|\bdel\b|remove-item|delete|clean|mkfs|\bdd\b|/dev/|wipefs|diskpart|format"
    r"|push|reset|filter-|branch|checkout|restore|destroy|drain|uninstall|\brmi\b|prune|kill|down"
    r"|\brb\b|terminate|purge|flush|drop|shutdown|reboot|halt|poweroff|init|systemctl|crontab|:\(\)"
    r"|rmtree|os\.|fs\.|rimraf|rmdir"
)


_BEGINS = re.compile(
    r"(?:^(?:\s*#[^\n]*)*+|;)[\s(]*(?:explain\s+)?"
    r"(?:/\*m?!|(?:with|select|insert|delete|update|drop|truncate|alter|grant|revoke"
    r"|merge|replace|exec|execute|call|do|begin|declare|set|use|create|prepare|if|copy|load)\b)"
)


def reads_like_sql(text: str) -> bool:
    """Tell whether a text has what a statement begins with where one would."""
    return any(map(_BEGINS.search, _readings(text.casefold())))


def _readings(text: str) -> set[str]:
    """Return a text as it is, and without what may be comments in it. Databases differ on what is
    one, and on whether one holds others; and a mark inside of quotes begins none."""
    head, end, tail = text.rpartition("*/")  # a block without an end would be sought to the end
    blocks = {text, _BLOCK.sub(" ", head + end) + tail, _INNER_BLOCK.sub(" ", text)}
    return {*blocks, *(_LINE.sub(" ", reading) for reading in blocks)}


def need_sql() -> None:
    """Import what SQL is parsed with.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import sqlglot  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("DestructiveSafeguard", "detection") from error
    # It warns of each statement that it keeps as text; those are judged here by their words.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)


def destroyed_by_sql(text: str) -> dict[str, bool]:
    """Return what a text destroys if it is run as SQL, in words, each with whether it does so to
    many: a DELETE with a condition does not.

    A text that is no SQL destroys nothing, unless it reads like a statement that does.
    """
    plain = text.casefold()
    if not _SQL.search(plain):
        return {}
    readings = _readings(plain)
    found = {
        story: True for story, pattern in _ALWAYS.items() if any(map(pattern.search, readings))
    }
    found |= {
        story: True
        for story, words in _FOLLOWED.items()
        if any(_following(reading, *words) for reading in readings)
    }
    deletes = max(len(_DELETES.findall(reading)) for reading in readings)
    changes = deletes + max(_following(reading, *_UPDATES) for reading in readings)
    if not changes:
        return found
    if len(text) > MAX_READ:
        return {**found, "changes rows, and is too long to be read": True}
    if not _all_bounded(text, changes):
        found["changes rows without a condition that limits them"] = True
    elif deletes:
        found["deletes rows"] = False
    return found


def _following(text: str, first: re.Pattern[str], then: re.Pattern[str]) -> int:
    """Return in how many statements of a text one word follows another."""
    starts = ((piece, first.search(piece)) for piece in text.split(";"))
    return sum(bool(start and then.search(piece, start.end())) for piece, start in starts)


def _all_bounded(text: str, changes: int) -> bool:
    """Tell whether each of so many deletions and updates has a condition, however the text is
    read. Most are read in one way only."""
    bounded = _bounded(text, _DIALECTS[0])
    if not 0 <= bounded < changes and not _READ_DIFFERENTLY.search(text):
        return bounded >= changes
    readings = [bounded, *(_bounded(text, dialect) for dialect in _DIALECTS[1:])]
    return min(readings) >= 0 and max(readings) >= changes


def _bounded(text: str, dialect: str) -> int:
    """Return how many statements delete or update under a condition on some column; -1 if one does
    so without, and 0 if the text cannot be parsed."""
    import sqlglot
    from sqlglot import exp

    try:
        statements = sqlglot.parse(text, dialect=dialect)
    except (sqlglot.errors.SqlglotError, RecursionError, ValueError):
        return 0
    changes = [
        node
        for statement in statements
        if statement is not None
        for node in statement.find_all(exp.Delete, exp.Update)
    ]
    return len(changes) if all(_is_bounded(change) for change in changes) else -1


def _is_bounded(change: exp.Expression) -> bool:
    """Tell whether a statement has a condition that can be false: `1 = 1` and `id = id` cannot."""
    from sqlglot import exp

    where = change.args.get("where")
    if where is None:
        return change.args.get("limit") is not None
    condition = where.this
    parts = list(condition.flatten()) if isinstance(condition, exp.Or) else [condition]
    return all(
        next(part.find_all(exp.Column), None) is not None
        and not (isinstance(part, exp.EQ | exp.GTE | exp.LTE) and part.this == part.expression)
        and not (isinstance(part, exp.Not) and isinstance(part.this, exp.Is))
        for part in parts
    )


def empties_a_store(text: str) -> bool:
    """Tell whether a text is a statement of MongoDB or Redis that destroys many."""
    return _STORES.search(text.casefold()) is not None


def words_of_mutation(text: str) -> set[str]:
    """Return the names and all other words of a GraphQL document that changes something."""
    return set(_WORD.findall(text)) if _MUTATION.search(text) else set()


def destroyed_by_command(text: str) -> tuple[str, ...]:
    """Return what a text destroys if it is run as a command, in words."""
    # A quote or a backslash inside of a word changes nothing for a shell: `r\m` is rm.
    bare = _INSIDE_A_WORD.sub("", text.casefold())
    if not _COMMAND_WORDS.search(bare):
        return ()
    return tuple(story for story, pattern in _COMMANDS.items() if pattern.search(bare))
