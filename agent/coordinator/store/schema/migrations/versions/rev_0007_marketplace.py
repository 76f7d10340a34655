"""Offers, and the statistics and evidence about each miner's work."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Bound of the evidence from one client's runs at the time of this migration.
MOST_EVIDENCE_OF_A_CLIENT = 20


def upgrade() -> None:
    """Add the tables, and compute the statistics from existing runs and payments."""
    _offers()
    _numbers()
    _fill_numbers()
    _fill_evidence()


def _offers() -> None:
    op.create_table(
        "offers",
        sa.Column("offer_id", sa.String(length=64), nullable=False),
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("job_type", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("service", sa.String(length=64), nullable=True),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("max_jobs", sa.Integer(), nullable=True),
        sa.Column("jobs_left", sa.Integer(), nullable=True),
        sa.Column("min_gpu_memory", sa.BigInteger(), nullable=False),
        sa.Column("min_cpu_millis", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.CheckConstraint("jobs_left >= 0 AND jobs_left <= max_jobs", name=op.f("ck_offers_jobs_left")),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_offers_miner_id")),
        sa.PrimaryKeyConstraint("offer_id", name=op.f("pk_offers")),
        sa.UniqueConstraint("miner_id", "service", name=op.f("uq_offers_standing")),
    )
    op.create_index("ix_offers_miner", "offers", ["miner_id", "offer_id"], unique=False)
    active = sa.text("state = 'active'")
    for name, columns in (
        ("ix_offers_open_of_miner", ["miner_id"]),
        ("ix_offers_cheapest", ["price", "offer_id"]),
        ("ix_offers_cheapest_of_kind", ["kind", "price", "offer_id"]),
        ("ix_offers_expiry", ["expires_at"]),
    ):
        op.create_index(name, "offers", columns, unique=False, sqlite_where=active, postgresql_where=active)
    bound = sa.text("state = 'submitted' AND offer_id IS NOT NULL")
    op.create_index(
        "ix_jobs_bound", "jobs", ["offer_id"], unique=False, sqlite_where=bound, postgresql_where=bound
    )


def _numbers() -> None:
    op.create_table(
        "miner_stats",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("completed", "failed", "refused")),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("paid", sa.BigInteger(), nullable=False),
        sa.Column("earned", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("good", "bad", "evidence_at")),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_miner_stats_miner_id")),
        sa.PrimaryKeyConstraint("miner_id", name=op.f("pk_miner_stats")),
    )
    op.create_table(
        "client_evidence",
        sa.Column("miner_id", sa.String(length=64), nullable=False),
        sa.Column("account_id", sa.String(length=64), nullable=False),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("good", "bad", "evidence_at")),
        sa.ForeignKeyConstraint(["miner_id"], ["miners.miner_id"], name=op.f("fk_client_evidence_miner_id")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.account_id"], name=op.f("fk_client_evidence_account_id")
        ),
        sa.PrimaryKeyConstraint("miner_id", "account_id", name=op.f("pk_client_evidence")),
    )


def _fill_numbers() -> None:
    # An expired run whose job still has the lease may still deliver a result, so it is judged later.
    op.execute(
        "INSERT INTO miner_stats (miner_id, completed, failed, refused, seconds, paid, earned, good, bad, evidence_at) "
        "SELECT m.miner_id, "
        "COALESCE(SUM(CASE WHEN r.outcome = 'completed' THEN 1 ELSE 0 END), 0), "
        "COALESCE(SUM(CASE WHEN r.outcome = 'retried' OR (r.outcome = 'expired' AND "
        "(j.lease_miner_id IS NULL OR j.fence <> r.fence)) THEN 1 ELSE 0 END), 0), 0, "
        "COALESCE(SUM(CASE WHEN r.outcome = 'completed' THEN r.ended_at - r.assigned_at ELSE 0.0 END), 0.0), "
        "0, 0, 0.0, 0.0, COALESCE(MAX(r.ended_at), 0.0) "
        "FROM miners m JOIN runs r ON r.miner_id = m.miner_id JOIN jobs j ON j.job_id = r.job_id GROUP BY m.miner_id"
    )
    op.execute(
        "UPDATE miner_stats SET "
        "paid = COALESCE((SELECT SUM(t.paid) FROM transactions t WHERE t.miner_id = miner_stats.miner_id), 0), "
        "earned = COALESCE((SELECT SUM(t.paid - t.fee) FROM transactions t WHERE t.miner_id = miner_stats.miner_id), 0)"
    )


def _fill_evidence() -> None:
    """Compute the evidence of each client, as if all of its runs were as old as the newest one."""
    judged = (
        "SELECT r.miner_id AS miner_id, j.account_id AS account_id, r.ended_at AS ended_at, "
        "CASE WHEN r.outcome = 'completed' THEN 1.0 ELSE 0.0 END AS good, "
        "CASE WHEN r.outcome = 'retried' OR (r.outcome = 'expired' AND "
        "(j.lease_miner_id IS NULL OR j.fence <> r.fence)) THEN 1.0 ELSE 0.0 END AS bad "
        "FROM runs r JOIN jobs j ON j.job_id = r.job_id JOIN miners m ON m.miner_id = r.miner_id"
    )
    share = f"CASE WHEN SUM(good + bad) > {MOST_EVIDENCE_OF_A_CLIENT} THEN {MOST_EVIDENCE_OF_A_CLIENT}.0 / SUM(good + bad) ELSE 1.0 END"
    # Its parts are the constant and the texts above.
    op.execute(
        "INSERT INTO client_evidence (miner_id, account_id, good, bad, evidence_at) "  # noqa: S608 - made of constants only
        f"SELECT miner_id, account_id, SUM(good) * {share}, SUM(bad) * {share}, MAX(ended_at) FROM ({judged}) AS judged "
        "WHERE good + bad > 0 GROUP BY miner_id, account_id"
    )
    # A miner's evidence is the sum of its clients' evidence, each decayed from its newest run to the newest of all.
    rows = op.get_bind().execute(
        sa.text("SELECT miner_id, good, bad, evidence_at FROM client_evidence ORDER BY miner_id")
    )
    sums: dict[str, tuple[float, float, float]] = {}
    for miner_id, good, bad, at in rows:
        known_good, known_bad, known_at = sums.get(miner_id, (0.0, 0.0, at))
        newest = max(at, known_at)
        old, new = _faded(newest - known_at), _faded(newest - at)
        sums[miner_id] = (known_good * old + good * new, known_bad * old + bad * new, newest)
    for miner_id, (good, bad, at) in sums.items():
        op.get_bind().execute(
            sa.text(
                "UPDATE miner_stats SET good = :good, bad = :bad, evidence_at = :at WHERE miner_id = :miner_id"
            ),
            {"good": good, "bad": bad, "at": at, "miner_id": miner_id},
        )


def _faded(seconds: float) -> float:
    """Return the weight of evidence of that age: half after thirty days."""
    return float(0.5 ** (seconds / (30 * 86_400)))
