"""Diagnosis: from what was seen of a server, a key or a setting to one line and one remedy. Pure."""

from domain.rules.diagnosis.nouns import Check, Outcome, fail, first_step, ok, skip, warn, worst

__all__ = ["Check", "Outcome", "fail", "first_step", "ok", "skip", "warn", "worst"]
