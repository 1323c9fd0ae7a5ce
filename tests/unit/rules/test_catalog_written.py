"""A catalog is written as the file that says the same, whatever names are in it."""

from pathlib import Path

import pytest

from domain.rules.catalog import parse_catalog_file
from domain.rules.catalog.written import write_catalogs

ROOT = Path(__file__).parents[3]
ODD = """
[projects.acme]
name = "\\"A\\\\B\\" \\u007f\\n# [x] é"
[projects.acme.policy]
refund = { revoke_from = 0.0000001 }
grace_days_after_trial = 0
[projects.acme.apps.editor]
[projects.acme.features.seats]
type = "integer"
apps = []
merge = "sum"
default = "unlimited"
[projects.acme.plans.old]
stripe_product = "prod_1"
grace_days = 0
weights = { editor = 3 }
grants = { seats = { value = 2, per_unit = true } }
[projects.acme.plans.old.prices.third]
interval = "month"
interval_count = 3
amounts = { usd = 0, eur = 5 }
stripe_ids = ["price_1", "price_2"]
[projects.acme.plans.more]
kind = "addon"
requires = "old"
[projects.globex]
policy = { refund = "keep" }
apps = { board = {} }
"""


@pytest.mark.parametrize(
    "text", [(ROOT / "deploy/local/catalog.toml").read_text(), ODD], ids=["sample", "odd"]
)
def test_what_is_written_reads_as_the_same_catalogs(text: str) -> None:
    catalogs = parse_catalog_file(text, file="catalog.toml")
    remarks = {"": ["two\nlines = 1", "\x1b[2J"], "projects.acme.plans.old": ["said"]}
    written = write_catalogs(catalogs, remarks)
    assert parse_catalog_file(written, file="written.toml") == catalogs
    assert written.startswith("# two lines = 1\n#  [2J\n")
    assert ("[projects.acme.plans.old]\n# said\nname" in written) is ("projects.acme.plans.old" in text)
