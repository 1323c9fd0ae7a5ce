"""Diagnose: is everything that a deployment stands on as it must be? Reads only, and asks whoever answers."""

from domain.flows.diagnose.run import Diagnosis, diagnose
from domain.rules.diagnosis import Check, Outcome

__all__ = ["Check", "Diagnosis", "Outcome", "diagnose"]
