"""reserved; see the brief of its part"""

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
