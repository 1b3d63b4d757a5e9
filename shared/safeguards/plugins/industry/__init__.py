"""Safeguards for industries."""

from safeguards.plugins.industry.financial import FinancialServicesSafeguard
from safeguards.plugins.industry.healthcare import HealthcareSafeguard

__all__ = ["FinancialServicesSafeguard", "HealthcareSafeguard"]
