"""Which features a new version answers differently."""

from domain.model import EntitlementSet


def list_changed(before: EntitlementSet, after: EntitlementSet) -> list[str]:
    """Keys of features whose answer is another in any field, that came, or that went; sorted."""
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
