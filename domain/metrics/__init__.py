"""Every metric: its name with its unit, what it counts, and its labels. docs/operations.md explains them.

A label is one of a few words known beforehand: a route, an outcome. Never an id, a path or anything a caller
chose. Declared here and counted where it happens; `domain/metrics/listener.py` shows them to Prometheus.
"""

from prometheus_client import Counter, Gauge, Histogram

#: From a memory hit (some 50 µs) to the deadline of a request.
_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
#: A sync waits for Stripe, and for the read budget before it.
_STRIPE_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

requests = Histogram(
    "tollhouse_request_seconds",
    "Requests to a door, from the first byte of the request to the last of the answer",
    ("method", "route", "status"),
    buckets=_REQUEST_BUCKETS,
)
connections_ended = Counter(
    "tollhouse_connections_ended_total",
    "Connections that a door ended: head or body did not arrive in time, or the answer was not read",
    ("reason",),
)
deliveries = Counter(
    "tollhouse_webhook_deliveries_total",
    "Deliveries to the webhook: stored (with the reason where nothing is owed), duplicate, refused, failed",
    ("outcome", "reason"),
)
reads = Counter(
    "tollhouse_reads_total",
    "Entitlement sets that were answered, by where they came from; kept: an old copy during an outage",
    ("source", "freshness"),
)
syncs = Histogram(
    "tollhouse_sync_seconds",
    "Runs of a target by outcome; fenced: the lease was lost, and nothing was written",
    ("outcome",),
    buckets=_STRIPE_BUCKETS,
)
readable = Histogram(
    "tollhouse_readable_seconds",
    "From the door to the cache: how old the oldest event of a run was when its answers could be read",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
)
recomputes = Counter(
    "tollhouse_recomputes_total",
    "Recomputes of a user by cause, and whether any answer changed",
    ("cause", "changed"),
)
stripe_calls = Histogram(
    "tollhouse_stripe_call_seconds",
    "Calls to Stripe by method and outcome",
    ("method", "outcome"),
    buckets=_STRIPE_BUCKETS,
)
budget_waits = Histogram(
    "tollhouse_stripe_budget_wait_seconds",
    "What a read of Stripe waited for its slot in the shared budget",
    buckets=_STRIPE_BUCKETS,
)
budget_refusals = Counter(
    "tollhouse_stripe_budget_refusals_total", "Reads of Stripe for which there was no slot in time"
)
cache_calls = Counter(
    "tollhouse_cache_calls_total", "Calls of the cache: ok, failed, or skipped after a failure", ("outcome",)
)
owed = Gauge("tollhouse_backlog_targets", "Targets that are owed a sync", multiprocess_mode="max")
oldest = Gauge(
    "tollhouse_backlog_oldest_seconds", "Age of the oldest event that waits", multiprocess_mode="max"
)
dead = Gauge("tollhouse_dead_targets", "Targets that gave up", multiprocess_mode="max")
failed = Gauge("tollhouse_failed_events", "Events that gave up", multiprocess_mode="max")
backlog_read_at = Gauge(
    "tollhouse_backlog_read_timestamp_seconds",
    "When the scheduler last read the four above; old: Postgres is away, or the scheduler stands still",
    multiprocess_mode="max",
)
leads = Gauge(
    "tollhouse_scheduler_leads", "1: this scheduler has the timed jobs; 0: another", multiprocess_mode="max"
)
job_succeeded_at = Gauge(
    "tollhouse_job_success_timestamp_seconds",
    "When a job's turn last went well, in any scheduler; of a paused job: the time of this reading",
    ("job",),
    multiprocess_mode="max",
)
job_paused = Gauge(
    "tollhouse_job_paused", "1: an operator has paused the job; 0: it runs", ("job",), multiprocess_mode="max"
)
