"""What this deployment has itself: clocks, peppers, catalogs, and what `status` sees of its processes."""

from collections.abc import Mapping, Sequence

from domain.rules.diagnosis.nouns import Check, Outcome, fail, ok, warn
from domain.rules.health import Part

#: Readers choose what holds now by their own clock, and grants end by the database's.
SKEW_WARNS_S = 5.0
#: Signatures of Stripe are refused at 300 s; far before that answers begin and end at the wrong moment.
SKEW_FAILS_S = 60.0
#: A pepper of so few different bytes was typed, not drawn.
FEWEST_BYTES = 12

SYNCHRONISE = "synchronise the clocks (NTP, chrony) of this machine and of {whose}"


def judge_skew(name: str, whose: str, skew_s: float, uncertainty_s: float) -> Check:
    """`skew_s`: how far `whose` clock is ahead of this machine's; `uncertainty_s`: how far it may be off."""
    certain_s = max(0.0, abs(skew_s) - uncertainty_s)
    finding = f"{whose} is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} this machine"
    if certain_s <= SKEW_WARNS_S:
        return ok(name, f"{finding} (±{uncertainty_s:.1f} s)")
    level = fail if certain_s > SKEW_FAILS_S else warn
    return level(name, finding, SYNCHRONISE.format(whose=whose))


def judge_peppers(peppers: Mapping[int, str], used: Mapping[int, int]) -> Check:
    """Hex by version; `used`: living API keys by the version that they were made under."""
    name, variable = "key_pepper", "TOLLHOUSE_KEY_PEPPERS"
    typed = [version for version, pepper in peppers.items() if len(set(bytes.fromhex(pepper))) < FEWEST_BYTES]
    if typed:
        finding = (
            f"version {', '.join(map(str, typed))} is a pattern: whoever reads the database can make keys"
        )
        draw = f"add a version to {variable} (openssl rand -hex 32), then rotate the keys of the old one"
        return fail(name, finding, draw)
    lost = {version: count for version, count in used.items() if version not in peppers}
    if lost:
        said = ", ".join(f"{count} keys of version {version}" for version, count in sorted(lost.items()))
        again = f"put the pepper of that version back into {variable}, or make those keys anew"
        return fail(name, f"{said} cannot be verified: their pepper is not set here", again)
    versions = ", ".join(map(str, sorted(peppers)))
    return ok(name, f"version {versions}; {sum(used.values())} living API keys")


def judge_catalogs(versions: Mapping[str, int], unsold: Sequence[str]) -> Check:
    """In force by project; `unsold`: prices of them that no Stripe price stands for."""
    if not versions:
        apply = "write a catalog file (docs/catalog.md), then tollhouse catalog apply FILE"
        return fail("catalog", "none was applied: there is nothing to sell or to grant", apply)
    finding = ", ".join(f"{project} version {version}" for project, version in sorted(versions.items()))
    if unsold:
        shown = ", ".join(unsold[:3]) + (f" and {len(unsold) - 3} more" if len(unsold) > 3 else "")  # noqa: PLR2004
        sell = "tollhouse catalog apply FILE, which makes them at Stripe"
        return fail("catalog", f"{finding}; not for sale yet: {shown}", sell)
    return ok("catalog", finding)


def judge_stripe_catalog(*, is_drifted: bool) -> Check:
    if not is_drifted:
        return ok("catalog_at_stripe", "Stripe has what the catalogs in force say")
    finding = "Stripe and the catalogs in force differ"
    return warn("catalog_at_stripe", finding, "tollhouse catalog verify, which names each difference")


#: `status` judges these; what stands under another name here is left to its own check.
LEFT_TO_OTHERS = frozenset({"deployment", "lag", "stripe_budget", "catalog", "database", "schema"})
_LEVELS: dict[str, Outcome] = {"healthy": "ok", "degraded": "warning", "down": "failed"}


def judge_parts(parts: Sequence[Part]) -> list[Check]:
    """The parts of `tollhouse status` that tell whether processes run and work is done."""
    return [
        Check(name=part.name, outcome=_LEVELS[part.health], finding=part.finding, next=part.next)
        for part in parts
        if part.name not in LEFT_TO_OTHERS
    ]
