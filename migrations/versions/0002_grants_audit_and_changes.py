"""grants, the audit log and the change feed"""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: The database refuses what no code of ours may do: a record that can be edited proves nothing.
KEEP = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$
"""


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "entitlement_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False, comment="as in entitlement_history"),
        sa.Column(
            "changed",
            postgresql.ARRAY(sa.Text()),
            nullable=False,
            comment="features whose answer is another than before",
        ),
        _now("recorded_at"),
        sa.Column(
            "position",
            sa.BigInteger(),
            nullable=True,
            comment="in the feed; given after commit, null: not given yet",
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("entitlement_changes_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("entitlement_changes_pkey")),
        sa.UniqueConstraint("position", name=op.f("entitlement_changes_position_key")),
        sa.UniqueConstraint(
            "user_key", "app", "version", name=op.f("entitlement_changes_user_key_app_version_key")
        ),
        comment="The change feed: one row per version that began to be answered",
    )
    op.create_index("entitlement_changes_feed_idx", "entitlement_changes", ["project", "app", "position"])
    op.create_index(
        "entitlement_changes_unnumbered_idx",
        "entitlement_changes",
        ["id"],
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_table(
        "grants",
        sa.Column("grant_id", sa.Text(), nullable=False, comment="gr_…"),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("user_key", sa.BigInteger(), nullable=False),
        sa.Column("effect", sa.Text(), nullable=False),
        sa.Column("target_kind", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False, comment="key of the feature, plan, app or project"),
        sa.Column("value", postgresql.JSON(), nullable=True, comment="null: what the target gives by itself"),
        sa.Column("reason", sa.Text(), nullable=False, comment="an operator's words; apps never see them"),
        sa.Column("actor", sa.Text(), nullable=False, comment="name of the key, or the terminal's user"),
        _now("created_at"),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True, comment="null: never"),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoke_reason", sa.Text(), nullable=True),
        sa.Column(
            "idempotency_key",
            sa.Text(),
            nullable=True,
            comment="the caller's; one grant per project and key",
        ),
        sa.Column(
            "request_sha256",
            sa.LargeBinary(),
            nullable=True,
            comment="of the request under that key: another one is refused",
        ),
        sa.CheckConstraint(
            "effect IN ('allow', 'add', 'override', 'deny')", name=op.f("grants_effect_known_check")
        ),
        sa.CheckConstraint(
            "target_kind IN ('feature', 'plan', 'app', 'project')",
            name=op.f("grants_target_kind_known_check"),
        ),
        sa.CheckConstraint("expires_at > starts_at", name=op.f("grants_expires_after_start_check")),
        sa.CheckConstraint(
            "(revoked_at IS NULL) = (revoked_by IS NULL) AND (revoked_at IS NULL) = (revoke_reason IS NULL)",
            name=op.f("grants_revocation_whole_check"),
        ),
        sa.CheckConstraint(
            "(idempotency_key IS NULL) = (request_sha256 IS NULL)",
            name=op.f("grants_idempotency_whole_check"),
        ),
        sa.ForeignKeyConstraint(
            ["user_key", "project"],
            ["users.user_key", "users.project"],
            name=op.f("grants_user_key_project_fkey"),
        ),
        sa.PrimaryKeyConstraint("grant_id", name=op.f("grants_pkey")),
        sa.UniqueConstraint("project", "idempotency_key", name=op.f("grants_project_idempotency_key_key")),
        comment="What operators gave or took; a row ends by its revocation and is never deleted",
    )
    op.create_index("grants_user_idx", "grants", ["user_key"])
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _now("at"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False, comment="noun.verb, such as grant.create"),
        sa.Column("project", sa.Text(), nullable=True, comment="null: of the whole deployment"),
        sa.Column("user_key", sa.BigInteger(), nullable=True),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="an operator's words"),
        sa.Column(
            "details",
            postgresql.JSON(),
            nullable=False,
            comment="what was asked for and what it changed; no personal data",
        ),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_log_pkey")),
        comment="Every action of an operator, in the transaction of the action; rows are only added",
    )
    op.create_index("audit_log_project_idx", "audit_log", ["project", "id"])
    op.create_index("audit_log_user_idx", "audit_log", ["user_key", "id"])
    op.execute(KEEP)
    op.execute(
        "CREATE TRIGGER audit_log_is_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER grants_are_kept BEFORE DELETE OR TRUNCATE ON grants"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")


def _now(name: str) -> sa.Column[datetime]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
    )
