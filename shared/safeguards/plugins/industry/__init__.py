"""Safeguards for industries."""

from safeguards.plugins.industry.base import IndustrySafeguard, plain_name
from safeguards.plugins.industry.financial import FinancialServicesSafeguard
from safeguards.plugins.industry.healthcare import HealthcareSafeguard

BUILT_IN: dict[str, type[IndustrySafeguard]] = {
    safeguard.name: safeguard for safeguard in (FinancialServicesSafeguard, HealthcareSafeguard)
}
"""The safeguards that come with the library, by the name they have in policies."""

__all__ = [
    "BUILT_IN",
    "FinancialServicesSafeguard",
    "HealthcareSafeguard",
    "IndustrySafeguard",
    "plain_name",
]
