"""Actions of agents on an ordinary day, as tools really name them: none is worth a question."""

from __future__ import annotations

from typing import Any

ACTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("search_emails", {"query": "delete my account reminder", "sender": "it@elsewhere.net"}),
    ("get_unread_emails", {}),
    ("get_received_emails", {"limit": 500}),
    ("get_draft_emails", {}),
    ("list_deleted_files", {"recursive": True}),
    ("search_contacts_by_name", {"query": "Drop, Anna"}),
    ("get_day_calendar_events", {"day": "2024-05-15"}),
    ("search_calendar_events", {"query": "reset workshop", "date": "2024-05-15"}),
    (
        "create_calendar_event",
        {
            "title": "Lunch",
            "start_time": "2024-05-19 12:00",
            "end_time": "2024-05-19 13:00",
            "description": "Catching up; the access code of the bike shed is on the door",
            "participants": ["sarah.baker@example.com", "Emma Johnson <emma@mail.example.com>"],
            "location": "Café, 12345 Main Street",
            "is_all_day": False,
        },
    ),
    (
        "reschedule_calendar_event",
        {"event_id": "6", "new_start_time": "2024-05-20T10:00:00+02:00", "new_end_time": None},
    ),
    ("append_to_file", {"file_id": "13", "content": "\n- remove the old sign\n- call Bob"}),
    ("create_file", {"filename": "recipe.docx", "content": "Drop the dough. Reset the timer."}),
    ("search_files_by_filename", {"filename": "password-policy.pdf"}),
    ("get_file_by_id", {"file_id": "550e8400-e29b-41d4-a716-446655440000"}),
    (
        "send_email",
        {
            "recipients": ["james@example.com"],
            "subject": "Q3 numbers",
            "body": "Hi James, order 4000123412341235 and ORD-2026-11-25-000123 are on the way. "
            "Please update me on the drop in sales; the password is not needed any more.",
            "attachments": [{"file_id": "19", "type": "file"}],
            "cc": None,
        },
    ),
    ("get_balance", {}),
    ("get_iban", {}),
    ("get_most_recent_transactions", {"n": 100}),
    (
        "send_money",
        {
            "recipient": "GB29NWBK60161331926819",
            "amount": "98.70",
            "subject": "Invoice 20260117-33",
            "date": "2022-01-01",
        },
    ),
    ("get_channels", {}),
    ("read_channel_messages", {"channel": "general"}),
    ("send_channel_message", {"channel": "#general", "body": "Standup at 9:30 as usual"}),
    ("send_direct_message", {"recipient": "@alice", "body": "Thanks!"}),
    ("get_webpage", {"url": "https://docs.example.com/guide?section=2#install"}),
    ("get_hotels_prices", {"hotel_names": ["Le Marais Boutique", "City Hub"]}),
    ("get_rating_reviews_for_restaurants", {"restaurant_names": ["Breizh Café"]}),
    (
        "reserve_restaurant",
        {"restaurant": "Breizh Café", "start_time": "2024-11-14 19:00", "total_guests": 4},
    ),
    ("run_query", {"query": "SELECT updated_at FROM deleted_users WHERE id = 7 LIMIT 5000"}),
    ("run_query", {"query": "INSERT INTO notes (id, body) VALUES (1, 'call Bob')"}),
    ("run_query", {"query": "UPDATE orders SET state = 'paid' WHERE id = 1837"}),
    ("run_command", {"command": "git push origin feature/login && pytest -x --maxfail=1"}),
    ("run_command", {"command": "apt-get update && ls -la /tmp | grep format"}),
    ("run_command", {"command": ["kubectl", "get", "pods", "-n", "prod"]}),
    ("search_web", {"query": "how to drop table in sql; delete row"}),
    ("create_chart", {"points": list(range(300)), "title": "Revenue"}),
    ("create_issue", {"title": "Token counter is off", "labels": ["bug"], "assignee": "bob"}),
    ("add_comment", {"issue_id": 42, "body": "Fixed in e3b0c44298fc1c149afbf4c8996fb92427ae41e4"}),
    ("chat", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4096}),
    ("set_reminder", {"text": "Renew passport", "at": "2026-11-25T10:00:00.123456Z"}),
    (
        "save_image",
        {"data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9aw"},
    ),
    ("translate", {"text": "Das Passwort ist falsch. Bitte wählen Sie ein neues.", "to": "en"}),
)
