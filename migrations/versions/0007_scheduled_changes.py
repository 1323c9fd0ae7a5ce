"""changes of a subscription that wait for its period's end"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSON

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "subscriptions", sa.Column("schedule_id", sa.Text(), comment="null: no schedule manages it")
    )
    op.add_column(
        "subscriptions",
        sa.Column("scheduled_at", INSTANT, comment="when the items change; null: no change is waiting"),
    )
    op.add_column(
        "subscriptions",
        sa.Column("scheduled_items", JSON(), comment="[{price_id, product_id, quantity}] from then on"),
    )
    op.create_check_constraint(
        op.f("subscriptions_scheduled_whole_check"),
        "subscriptions",
        "(scheduled_at IS NULL) = (scheduled_items IS NULL)",
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
