"""Trace: every link between Stripe and one user's answers, the broken ones named with what repairs them."""

from domain.flows.trace.chain import Trace, trace_user
from domain.flows.trace.link import Link, LinkState

__all__ = ["Link", "LinkState", "Trace", "trace_user"]
