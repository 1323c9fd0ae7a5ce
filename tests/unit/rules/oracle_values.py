"""The oracle's values: what plans and grants would give of one feature. See oracle.py."""

from datetime import datetime
from typing import Any

from msgspec import Struct

from domain.model import Grant
from domain.rules.catalog import Catalog, Feature, Plan

UNLIMITED = "unlimited"


class Given(Struct, dict=True, kw_only=True):
    catalog: Catalog
    app: str
    feature: Feature

    def of_plan(self, plan: Plan | None, quantity: int, since: datetime | None) -> Any:
        """Its value, multiplied; grandfathered plans: as in the version active at `since`."""
        if plan is None or quantity <= 0:
            return None
        grants = plan.grants
        if plan.grandfather and since is not None:
            older = [one for one in self.catalog.older_grants if one.plan == plan.key and since < one.until]
            grants = min(older, key=lambda one: one.until).grants if older else grants
        grant = grants.get(self.feature.key)
        if grant is None or (grant.value is not None and not grant.value):
            return None
        if grant.per_unit:
            assert isinstance(grant.value, int)
            return grant.value * quantity
        return plain(grant.value)

    def allowed(self, grant: Grant) -> Any:
        """What allow and override set; nothing where the value does not fit or the target is another."""
        if not self.concerns(grant):
            return None
        if grant.target_kind == "plan":
            return self.of_plan(self.catalog.plans.get(grant.target), 1, None)
        if grant.target_kind != "feature" or grant.value is None:
            return self.everything()
        return grant.value if self.fits(grant.value) else None

    def added(self, grant: Grant) -> int:
        is_number = isinstance(grant.value, int) and not isinstance(grant.value, bool)
        if self.feature.type != "integer" or not is_number or not self.covers(grant):
            return 0
        assert isinstance(grant.value, int)
        return max(grant.value, 0)

    def covers(self, grant: Grant) -> bool:
        if grant.target_kind == "plan":
            plan = self.catalog.plans.get(grant.target)
            older = [one.grants for one in self.catalog.older_grants if one.plan == grant.target]
            tables = older + ([] if plan is None else [plan.grants])
            granted = [table.get(self.feature.key) for table in tables]
            return any(one is not None and (one.value is None or bool(one.value)) for one in granted)
        names = {"feature": self.feature.key, "app": self.app, "project": self.catalog.project}
        return grant.target == names[grant.target_kind]

    def everything(self) -> Any:
        if self.feature.type == "set":
            known = [plan.grants.get(self.feature.key) for plan in self.catalog.plans.values()]
            tables = [one for one in [*known, self.feature.default] if one is not None]
            return sorted({text for table in tables if isinstance(table.value, list) for text in table.value})
        return {"boolean": True, "integer": UNLIMITED, "enum": (self.feature.values or ("",))[-1]}[
            self.feature.type
        ]

    def fits(self, value: Any) -> bool:
        if self.feature.type == "enum":
            return value in self.feature.values
        if self.feature.type == "integer":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return isinstance(value, {"boolean": bool, "set": list}[self.feature.type])

    def concerns(self, grant: Grant) -> bool:
        if grant.effect != "override":
            return self.covers(grant)
        is_meant = grant.target_kind == "feature" and grant.target == self.feature.key
        return is_meant and (grant.value is None or self.fits(grant.value))


def plain(value: Any) -> Any:
    """The catalog writes unlimited as None."""
    return UNLIMITED if value is None else value
