"""What can go wrong, as types a caller can tell apart."""

from collections.abc import Sequence


class CarbonationError(Exception):
    """Carbonation could not go on."""

    def __init__(self, message: str | None = None) -> None:
        text = message or type(self).__doc__ or ""
        # It may quote a plugin, and what that says goes to logs and files that take text only.
        super().__init__(text.encode("utf-8", "backslashreplace").decode())


class ConfigError(CarbonationError):
    """The configuration, the rules or the plugin are not usable.

    `faults` holds one sentence per fault; each names file, table and key.
    """

    def __init__(self, *faults: str) -> None:
        self.faults: Sequence[str] = faults
        super().__init__("\n".join(faults))


class DatabaseError(CarbonationError):
    """The database cannot be used as it is."""


class ReadOnlyDatabase(DatabaseError):
    """The database can only be read by this program."""


class Overtaken(DatabaseError):
    """The database broke a transaction off to let others go on; to begin anew may help."""


class QueryError(CarbonationError):
    """A filter, column or order is not known here."""


class ScanError(CarbonationError):
    """A delivery directory cannot be looked at; nothing may be concluded from that."""


class NotOurs(ScanError):
    """A watch belongs to another site."""


class NoAnswer(ScanError):
    """A delivery directory was asked before, and has not answered yet."""


class IllegalTransition(CarbonationError):
    """That event cannot happen to a component in that status."""


class LostOwnership(CarbonationError):
    """The batch is no longer held by the process that works on it."""


class Superseded(CarbonationError):
    """The service of this site has accepted another configuration than this process has."""


class Stopped(CarbonationError):
    """The process is to end; what it was at is given back."""


class AttemptFailed(CarbonationError):
    """One group could not be brought further; trying again may help."""


class Unroutable(AttemptFailed):
    """The rules lead this group nowhere; only a change of rules or bytes helps."""


class EnvironmentFault(AttemptFailed):
    """Disk, mount or permissions are at fault, not the group."""


class SourceChanged(AttemptFailed):
    """The delivered file is no longer what was judged."""
