"""keys: rotation, and who made and ended them"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "api_keys",
        sa.Column("created_by", sa.Text(), nullable=True, comment="actor; null: made before this was kept"),
    )
    op.add_column(
        "api_keys", sa.Column("ended_by", sa.Text(), nullable=True, comment="actor who revoked or rotated it")
    )
    op.add_column(
        "api_keys",
        sa.Column("replaced_by", sa.Text(), nullable=True, comment="the key that a rotation made for it"),
    )
    op.create_foreign_key(
        op.f("api_keys_replaced_by_fkey"), "api_keys", "api_keys", ["replaced_by"], ["key_id"]
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
