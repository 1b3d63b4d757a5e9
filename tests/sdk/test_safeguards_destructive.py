"""The safeguard for destructive operations."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles


@pytest.mark.parametrize(
    "action_type",
    [
        "delete_file",
        "deleteFile",
        "DELETE-FILE",
        "deletefile",
        "gmail.deleteMessages",
        "remove_label",
        "drop_table",
        "truncateTable",
        "purge_queue",
        "wipe_device",
        "factory_reset",
        "request_deletion",
        "del\u200bete_file",
        "\uff44elete_file",
    ],
)
def test_it_is_known_by_the_words_of_the_type(action_type: str) -> None:
    """In any spelling. One thing lost is worth a look."""
    (alert,) = judged("destructive", action_type, {"id": "13"})
    assert (alert.title, alert.severity) == ("Destructive operation", AlertSeverity.WARNING)


@pytest.mark.parametrize(
    "action_type", ["list_deleted_files", "get_removed_users", "upload_to_dropbox", "preset_mode"]
)
def test_a_word_that_only_looks_alike_is_none(action_type: str) -> None:
    """What was deleted is not deleted again."""
    assert judged("destructive", action_type, {}) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE users",
        "SELECT 1; drop\n\tdatabase prod",
        "DROP/**/TABLE users",
        "TRUNCATE users",
        "truncate table users",
        "DELETE FROM users",
        "DELETE FROM users -- WHERE id = 1",
        "DELETE FROM users /* WHERE id = 1 */",
        "DELETE FROM users WHERE 1=1",
        "DELETE FROM users WHERE true",
        "DELETE FROM users WHERE id = id",
        "DELETE FROM users WHERE id = 3 OR 1=1",
        "DELETE FROM users WHERE id IS NOT NULL",
        "UPDATE users SET admin = 1",
        "WITH gone AS (DELETE FROM users RETURNING *) SELECT * FROM gone",
        "ALTER TABLE users DROP COLUMN email",
        "GRANT ALL ON users TO bob",
        "REVOKE ALL ON users FROM bob",
        "EXEC('DR' + 'OP TABLE users')",
        "SELECT 1 /*! ; DELETE FROM users */",
        "SELECT 'a\\'' ; DELETE FROM users; -- '",
        "SELECT $$ ' $$; DELETE FROM users; SELECT $$ ' $$",
        "SELECT 1 # '\n; DELETE FROM users; # '",
        "SELECT * FROM users INTO OUTFILE '/etc/passwd'",
        "\uff24ROP TABLE users",
        "\u200bdrop table users",
        "/*x*/ drop table users",
        "drop/*/**/table users",
        "# now\ndrop table users",
        "/*!50000 drop table users*/",
        "-- now\nupdate users set a=1",
        "(delete from users)",
        "select '/*'; drop/**/table users",
        "select '/*'; drop -- x\n table users; select '*/'",
        "select '/*'; update users set a=1; select '*/'",
        f"DELETE FROM users WHERE id IN ({'1, ' * 5000}1)",  # noqa: S608
    ],
)
@pytest.mark.parametrize("field", ["sql", "query", "arguments.statement"])
def test_a_statement_that_may_destroy_much_is_an_error(statement: str, field: str) -> None:
    """Whatever the database takes for a quote or a comment, nothing is hidden by it."""
    if field == "query" and statement.startswith("SELECT 'a\\"):
        statement = statement.replace("SELECT", "select")
    name, _, inner = field.partition(".")
    context = {name: {inner: statement} if inner else statement}
    alerts = judged("destructive", "run", context)
    assert "Destructive statement" in {alert.title for alert in alerts}
    assert all(alert.severity is AlertSeverity.ERROR for alert in alerts)


@pytest.mark.parametrize(
    "statement",
    [
        "FLUSHALL",
        "flushdb async",
        "db.users.deleteMany({})",
        "db.users.remove( {} )",
        "db.users.drop()",
        "db.dropDatabase()",
        {"first": ["drop table users"]},
    ],
)
def test_a_query_of_another_store_is_read_too(statement: Any) -> None:
    """However deep it stands."""
    (alert,) = judged("destructive", "run", {"query": statement})
    assert (alert.title, alert.severity) == ("Destructive statement", AlertSeverity.ERROR)


@pytest.mark.parametrize(
    "document",
    [
        "mutation { deleteUser(id: 1) { id } }",
        "# now\nmutation Change { removeAll }",
        "query Look { users { id } } mutation Change { user_purge(id: 1) }",
    ],
)
@pytest.mark.parametrize("field", ["query", "mutation"])
def test_a_mutation_that_deletes_is_a_warning(document: str, field: str) -> None:
    """It is known by the words of its names, as an action is by those of its type."""
    (alert,) = judged("destructive", "graphql", {field: document})
    assert (alert.title, alert.severity) == ("Destructive statement", AlertSeverity.WARNING)


@pytest.mark.parametrize(
    "text",
    [
        "how to delete from the list",
        "what did we update",
        "how do I flushall in redis",
        "query Look { users { id deletedAt } }",
        "mutation { createUser(name: 1) { id } }",
        "the mutation rate of deleted genes",
        "db.users.find({})",
    ],
)
def test_what_only_reads_like_a_query_is_no_alert(text: str) -> None:
    assert judged("destructive", "run", {"query": text}) == []


def test_a_deletion_with_a_condition_is_a_warning() -> None:
    """Some rows are lost, as with `delete_row`."""
    context = {"query": "DELETE FROM users WHERE id = 5 AND state = 'closed'"}
    (alert,) = judged("destructive", "run_query", context)
    assert alert.severity is AlertSeverity.WARNING
    assert alert.description == "It deletes rows, at /query."


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM deleted_items WHERE updated_at > '2024-01-01'",
        "INSERT INTO log (body) VALUES ('dropped')",
        "UPDATE users SET name = 'x' WHERE id = 1",
        "CREATE TABLE t (id INT REFERENCES u (id) ON DELETE CASCADE ON UPDATE SET NULL)",
        "SELECT replace(a, 'x', 'y') FROM t",
    ],
)
def test_an_ordinary_statement_is_no_alert(statement: str) -> None:
    """Reading, adding, and changing what a condition names."""
    assert judged("destructive", "run_query", {"sql": statement}) == []


@pytest.mark.parametrize(
    "command",
    [
        "rm -rf /",
        "cd /tmp && rm -fr *",
        "sudo rm --recursive x",
        "r\\m -rf /",
        "r''m -rf /",
        ["rm", "-rf", "/"],
        "find . -name '*.py' -delete",
        "git push --force",
        "git push origin main -f",
        "git push origin +main",
        "git push origin :main",
        "git -C repo push --force-with-lease",
        "git reset --hard HEAD~3",
        "git clean -fdx",
        "terraform destroy -auto-approve",
        "kubectl --context prod delete deployment web",
        "kubectl delete ns prod",
        "helm uninstall web",
        "docker system prune -af",
        "aws s3 rm s3://bucket --recursive",
        "aws ec2 terminate-instances --instance-ids i-1",
        "gcloud sql instances delete prod",
        "mkfs.ext4 /dev/sda1",
        "dd if=/dev/zero of=/dev/sda",
        "redis-cli FLUSHALL",
        'psql -c "DROP TABLE users"',
        'mysql -e "delete from users"',
        "python -c 'import shutil; shutil.rmtree(\"/\")'",
        "shutdown -h now",
    ],
)
def test_a_command_that_destroys_is_an_error(command: Any) -> None:
    """In a command, a script, or a list of its words."""
    alerts = judged("destructive", "run_command", {"command": command})
    assert {alert.severity for alert in alerts} == {AlertSeverity.ERROR}
    assert {alert.title for alert in alerts} == {"Destructive command"}


def test_a_command_and_its_arguments_are_read_together() -> None:
    """However a tool takes them apart."""
    context = {"command": "git", "args": ["push", "origin", "main", "--force"]}
    assert titles("destructive", "exec", context) == ["Destructive command"]


@pytest.mark.parametrize(
    "command",
    [
        "ls -la",
        "git push origin main",
        "git status && git diff",
        "kubectl get pods",
        "terraform plan",
        "docker ps",
        "npm run format",
        "echo 'do not remove'",
        "grep -rf patterns.txt src",
        "python manage.py test",
    ],
)
def test_an_ordinary_command_is_no_alert(command: str) -> None:
    """Looking, building, and pushing as everybody does."""
    assert judged("destructive", "run_command", {"command": command}) == []


@pytest.mark.parametrize(
    ("action_type", "context"),
    [
        ("update_records", {"ids": list(range(11))}),
        ("move_files", {"batch": {"files": ["x"] * 11}}),
        ("bulk_update", {"count": 11}),
        ("bulk_update", {"count": "\u0661\u0661"}),
        ("delete_emails", {"limit": "5000"}),
        ("delete_emails", {"filter": "*"}),
    ],
)
def test_a_change_of_many_is_an_error(action_type: str, context: dict[str, Any]) -> None:
    """Counted in lists, or said by a number."""
    alerts = judged("destructive", action_type, context, {"at_most": 10})
    assert alerts[-1].title == "Mass change"
    assert alerts[-1].severity is AlertSeverity.ERROR


@pytest.mark.parametrize(
    ("action_type", "context"),
    [
        ("update_records", {"ids": list(range(10))}),
        ("list_records", {"limit": 5000, "ids": list(range(500))}),
        ("create_chart", {"points": list(range(500))}),
        ("set_budget", {"limit": 5000}),
    ],
)
def test_a_change_of_few_is_none(action_type: str, context: dict[str, Any]) -> None:
    """Nor is reading or drawing many."""
    assert judged("destructive", action_type, context, {"at_most": 10}) == []


@pytest.mark.parametrize(
    "context",
    [{"force": True}, {"overwrite": "true"}, {"options": {"hardDelete": 1}}, {"mode": "truncate"}],
)
def test_a_switch_that_overwrites_is_a_warning(context: dict[str, Any]) -> None:
    """The alert names it."""
    (alert,) = judged("destructive", "copy_file", context)
    assert (alert.title, alert.severity) == ("Destructive option", AlertSeverity.WARNING)


def test_words_can_be_chosen() -> None:
    """They stand instead of the usual ones."""
    assert titles("destructive", "retire_server", {}, {"words": ["retire"]})
    assert titles("destructive", "delete_server", {}, {"words": ["retire"]}) == []
