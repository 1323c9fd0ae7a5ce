"""indexes for what operators list: the dead, the failed, grants by age"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_index(
        "sync_targets_dead_idx", "sync_targets", ["id"], postgresql_where=sa.text("state = 'dead'")
    )
    op.create_index(
        "webhook_events_failed_idx",
        "webhook_events",
        ["target_kind", "target_ref"],
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index("grants_project_idx", "grants", ["project", "created_at", "grant_id"])


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
