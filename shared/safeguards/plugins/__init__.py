"""Safeguards: what checks an action. Those that come with the library, and the base of one's own.

A safeguard of one's own derives from `Safeguard`, and is named in the entry points
`safeguards.plugins` of an installed package, under the name by which policies use it:

    [project.entry-points."safeguards.plugins"]
    office_hours = "my_package:OfficeHours"
"""

from safeguards.plugins.base import Safeguard
from safeguards.plugins.built_in import BUILT_IN
from safeguards.plugins.names import compact_name, glob_spellings, is_glob, plain_name, spellings
from safeguards.plugins.windows import Measure, Total, WindowSafeguard

__all__ = [
    "BUILT_IN",
    "Measure",
    "Safeguard",
    "Total",
    "WindowSafeguard",
    "compact_name",
    "glob_spellings",
    "is_glob",
    "plain_name",
    "spellings",
]
