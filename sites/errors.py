"""The error tree of the project.

WardroundError
 ├─ UserError            the user's mistake: one message with file, field and fix; exit code 2
 │   ├─ ConfigError      a schedule, suite or policy that does not hold
 │   └─ SourceError      a data source that is missing, unreadable or too small
 ├─ DataGone             a site was asked for an arrival whose data it no longer has
 ├─ WireError            a message that is not what its manifest says
 ├─ Refused              the gate let nothing out (carries a code from a closed set, never a text)
 └─ SitesFailed          sites did not do what the schedule says (simulator/loop.py); exit code 1
"""

from __future__ import annotations


class WardroundError(Exception):
    """Base of every error that this project raises on purpose."""


class UserError(WardroundError):
    """Bad input: the message names the file, the field and the fix."""


class ConfigError(UserError):
    """A YAML file, or an override of one, that cannot be run."""


class SourceError(UserError):
    """Data that are missing, unreadable, or fewer than the schedule asks for."""


class DataGone(WardroundError):
    """The data of an arrival are no longer at the site."""


class WireError(WardroundError):
    """A message whose names, dtypes, shapes or fingerprint differ from its manifest."""
