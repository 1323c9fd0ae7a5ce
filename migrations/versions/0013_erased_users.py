"""when a user was erased and whose another's things are now, and operators' words about who was erased"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A migration that cannot get its lock quickly gives up, instead of queueing every reader behind it.
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "users",
        sa.Column(
            "erased_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="then user_id is a keyed hash of what it was, and nothing gives access",
        ),
    )
    op.add_column(
        "users",
        sa.Column(
            "went_to",
            sa.BigInteger(),
            nullable=True,
            comment="user_key that has what this one had: renamed or merged; null: nothing went away",
        ),
    )
    op.create_foreign_key(op.f("users_went_to_fkey"), "users", "users", ["went_to"], ["user_key"])
    op.create_index(
        "users_went_to_idx", "users", ["went_to"], postgresql_where=sa.text("went_to IS NOT NULL")
    )
    _let_words_go()


def _let_words_go() -> None:
    """Rows of the log stay as they are, but for the reasons that operators wrote about an erased user."""
    op.execute(
        """
        CREATE FUNCTION refuse_change_but_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.reason = '(erased)' AND to_jsonb(NEW) - 'reason' = to_jsonb(OLD) - 'reason'
               AND EXISTS (SELECT FROM users WHERE user_key = OLD.user_key AND erased_at IS NOT NULL) THEN
                RETURN NEW;
            END IF;
            RAISE EXCEPTION 'rows of % are only added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    op.execute("DROP TRIGGER audit_log_is_kept ON audit_log")
    op.execute(
        "CREATE TRIGGER audit_log_is_kept BEFORE DELETE OR TRUNCATE ON audit_log"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER audit_log_is_as_written BEFORE UPDATE ON audit_log"
        " FOR EACH ROW EXECUTE FUNCTION refuse_change_but_erasure()"
    )


def downgrade() -> None:
    raise NotImplementedError("Tollhouse migrates forward only: restore a backup, or write a new migration.")
