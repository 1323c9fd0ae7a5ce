"""indexes for what operators look up: events, invoices by number, the audit log, expiring grants"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index("webhook_events_object_idx", "webhook_events", ["object_id", "received_at"])
    op.create_index("webhook_events_ref_idx", "webhook_events", ["target_ref", "received_at"])
    op.create_index("invoices_number_idx", "invoices", ["number"])
    op.create_index("audit_log_action_idx", "audit_log", ["action", "id"])
    op.create_index("audit_log_actor_idx", "audit_log", ["actor", "id"])
    op.create_index(
        "grants_expiring_idx",
        "grants",
        ["project", "expires_at", "grant_id"],
        postgresql_where=sa.text("revoked_at IS NULL AND expires_at IS NOT NULL"),
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
