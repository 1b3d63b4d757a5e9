"""What is signed is read strictly: one text has one meaning."""

from __future__ import annotations

import pytest
from joserfc import jws
from joserfc.jwk import OKPKey

from safeguards.errors import SignatureError
from safeguards.identifiers import new_id
from safeguards.publication import TYPE, open_publication

HEADER = {"alg": "Ed25519", "kid": new_id("key"), "typ": TYPE}
WHOLE = f'"id": "{new_id("act")}", "published_at": "2026-01-01T00:00:00Z", "action": '


def opened(key: OKPKey, action: str) -> str:
    payload = ("{" + WHOLE + action + "}").encode()
    compact = jws.serialize_compact(HEADER, payload, key, algorithms=["Ed25519"])
    return str(open_publication(compact, key.as_dict(private=False)).action.context["amount"])


@pytest.mark.parametrize(
    ("context", "words"),
    [
        ('{"amount": "1.00", "amount": "9000.00"}', "'amount' is repeated"),
        ('{"amount": NaN}', "NaN is not JSON"),
    ],
)
def test_an_ambiguous_payload_is_refused(context: str, words: str) -> None:
    key = OKPKey.generate_key("Ed25519")
    action = '{"agent_id": "trader", "action_type": "pay", "context": %s}'
    assert opened(key, action % '{"amount": "1.00"}') == "1.00"
    with pytest.raises(SignatureError, match=words):
        opened(key, action % context)
