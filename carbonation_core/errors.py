"""What can go wrong, as types a caller can tell apart."""

from collections.abc import Sequence


class CarbonationError(Exception):
    """Carbonation could not go on."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(CarbonationError):
    """The configuration, the rules or the plugin are not usable.

    `faults` holds one sentence per fault; each names file, table and key.
    """

    def __init__(self, *faults: str) -> None:
        self.faults: Sequence[str] = faults
        super().__init__("\n".join(faults))


class DatabaseError(CarbonationError):
    """The database cannot be used as it is."""


class QueryError(CarbonationError):
    """A filter, column or order is not known here."""


class ScanError(CarbonationError):
    """A delivery directory cannot be looked at; nothing may be concluded from that."""


class IllegalTransition(CarbonationError):
    """That event cannot happen to a component in that status."""


class LostOwnership(CarbonationError):
    """The batch is no longer held by the process that works on it."""


class AttemptFailed(CarbonationError):
    """One group could not be brought further; trying again may help."""


class Unroutable(AttemptFailed):
    """The rules lead this group nowhere; only a change of rules or bytes helps."""


class EnvironmentFault(AttemptFailed):
    """Disk, mount or permissions are at fault, not the group."""


class SourceChanged(AttemptFailed):
    """The delivered file is no longer what was judged."""
