"""The safeguards that come with the library."""

from __future__ import annotations

from safeguards.plugins.base import Safeguard
from safeguards.plugins.credentials import CredentialsSafeguard
from safeguards.plugins.destructive import DestructiveSafeguard
from safeguards.plugins.external_recipients import ExternalRecipientsSafeguard
from safeguards.plugins.first_time import FirstTimeSafeguard
from safeguards.plugins.industry import FinancialServicesSafeguard, HealthcareSafeguard
from safeguards.plugins.personal_data import PersonalDataSafeguard
from safeguards.plugins.secrets import SecretsSafeguard
from safeguards.plugins.spending import SpendingSafeguard
from safeguards.plugins.splitting import SplittingSafeguard
from safeguards.plugins.time_of_day import TimeOfDaySafeguard
from safeguards.plugins.velocity import VelocitySafeguard

BUILT_IN: dict[str, type[Safeguard]] = {
    safeguard.name: safeguard
    for safeguard in (
        FinancialServicesSafeguard,
        HealthcareSafeguard,
        CredentialsSafeguard,
        DestructiveSafeguard,
        ExternalRecipientsSafeguard,
        PersonalDataSafeguard,
        SecretsSafeguard,
        FirstTimeSafeguard,
        SpendingSafeguard,
        SplittingSafeguard,
        TimeOfDaySafeguard,
        VelocitySafeguard,
    )
}
"""By the name they have in policies."""
