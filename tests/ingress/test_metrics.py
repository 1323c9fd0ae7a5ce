"""Money figures by HTTP and in a terminal: who may ask, in which form, and what is refused by name."""

import csv
import io
from collections.abc import Sequence
from typing import Any

import httpx2

from domain.flows.manage_keys import create_key
from domain.settings import Settings
from ingress import api
from ingress.lifespan import open_running
from tests.flows.event_path import running_path
from tests.ingress.doors import client_of
from tests.ingress.terminal import answer_in, type_in

AT = "/api/v1/metrics/project/acme"
READS = ("metrics:read",)


async def test_a_project_gets_its_figures_as_json_or_a_table_and_nobody_else_does(settings: Settings) -> None:
    async with running_path(settings) as path:
        customer = await path.make_customer("=u_1")
        await path.buy(customer, "pro", "month", 3)
        await path.mark("customer_all", customer)
        await path.drain()
        own = path.context.settings
        async with open_running("api", own) as running:
            app = await create_key(
                path.context, kind="app", project="acme", app="editor", name="a", scopes=READS
            )
            own_key = await create_key(path.context, kind="project", project="acme", name="p", scopes=READS)
            other = await create_key(path.context, kind="project", project="globex", name="g", scopes=READS)
            async with client_of(api.app, running, own_key.key) as client:
                await assert_json(client)
                await assert_tables(client)
                await assert_refused(client)
            for key, code in ((other.key, "wrong_project"), (app.key, "wrong_kind")):
                async with client_of(api.app, running, key) as client:
                    for name in ("revenue", "revenue/entries", "subscriptions"):
                        answer = await client.get(f"{AT}/{name}")
                        assert (answer.status_code, answer.json()["code"]) == (403, code)
        await assert_terminal(own)


async def get(client: httpx2.AsyncClient, name: str, **query: str) -> Any:
    answer = await client.get(f"{AT}/{name}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def assert_json(client: httpx2.AsyncClient) -> None:
    revenue = await get(client, "revenue")
    nothing = dict.fromkeys(("tax", "refunded", "refunded_tax", "disputed", "disputed_tax"), 0)
    assert revenue["totals"]["usd"] == {"gross": 5700, "net": 5700, **nothing}
    (row,) = revenue["data"]
    assert {app: sums["net"] for app, sums in row["apps"].items()} == {"editor": 3990, "viewer": 1710}
    assert revenue["timezone"] == "Europe/Berlin"
    assert revenue["complete_from"]
    assert set(revenue["totals"]["usd"]) - {"refunded_tax", "disputed_tax"} <= revenue["definitions"].keys()
    viewer = await get(client, "revenue", app="viewer", currency="USD", timezone="Asia/Tokyo", interval="day")
    assert viewer["totals"]["usd"]["gross"] == 1710
    assert (await get(client, "revenue", currency="eur"))["totals"] == {}
    first = await get(client, "revenue/entries", limit="1")
    second = await get(client, "revenue/entries", limit="1", cursor=first["next_cursor"])
    (one,), (two,) = first["data"], second["data"]
    assert (one["kind"], one["app"], one["amount_minor"], one["user_id"]) == (
        "payment",
        "editor",
        3990,
        "=u_1",
    )
    assert (two["app"], two["object_id"], second["next_cursor"]) == ("viewer", one["object_id"], None)
    (month,) = (await get(client, "subscriptions"))["data"]
    assert (month["mrr"], month["subscriptions"], month["apps"]) == (
        5700,
        1,
        {"editor": 3990, "viewer": 1710},
    )
    assert month["plans"] == {"pro": {"subscriptions": 1, "mrr": 5700}}
    assert month["movements"]["new"] == {"users": 1, "mrr": 5700}


async def assert_tables(client: httpx2.AsyncClient) -> None:
    asked = await client.get(f"{AT}/revenue", headers={"accept": "text/csv"})
    assert asked.headers["content-type"].startswith("text/csv")
    rows = table(asked)
    assert [(row["currency"], row["app"], row["gross"]) for row in rows] == [
        ("usd", "editor", "3990"), ("usd", "viewer", "1710"),
    ]  # fmt: skip
    entries = await client.get(f"{AT}/revenue/entries", params={"format": "csv", "limit": "1"})
    assert [row["user_id"] for row in table(entries)] == ["'=u_1"], "a spreadsheet would run it"
    assert entries.headers["tollhouse-next-cursor"]
    (month,) = table(await client.get(f"{AT}/subscriptions", params={"format": "csv"}))
    assert (month["mrr"], month["new_users"], month["churned_mrr"]) == ("5700", "1", "0")
    json_after_all = await client.get(
        f"{AT}/revenue", params={"format": "json"}, headers={"accept": "text/csv"}
    )
    assert json_after_all.headers["content-type"] == "application/json"


def table(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


REFUSED: Sequence[tuple[dict[str, str], str]] = (
    ({"from": "2026-10-01", "to": "2026-10-01"}, "to"),
    ({"from": "yesterday"}, "from"),
    ({"from": "2000-01-01", "to": "2026-10-01", "interval": "day"}, "interval"),
    ({"timezone": "Europe/Atlantis"}, "timezone"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"currency": "dollars"}, "currency"),
    ({"since": "2026-10-01"}, "since"),
)


async def assert_refused(client: httpx2.AsyncClient) -> None:
    for query, field in REFUSED:
        answer = await client.get(f"{AT}/revenue", params=query)
        assert 400 <= answer.status_code < 500, answer.text
        assert [error["field"] for error in answer.json()["errors"]] == [field], (query, answer.text)
    answer = await client.get(f"{AT}/revenue", params={"app": "board"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_app")
    answer = await client.get(f"{AT}/revenue/entries", params={"cursor": "1.x"})
    assert [error["field"] for error in answer.json()["errors"]] == ["cursor"]


async def assert_terminal(settings: Settings) -> None:
    words = ("revenue", "--project", "acme")
    said = await answer_in(settings, *words)
    assert said["revenue"]["totals"]["usd"]["net"] == 5700
    assert said["subscriptions"]["data"][0]["mrr"] == 5700
    shown = await type_in(settings, *words)
    assert shown.exit_code == 0, shown.output
    assert "57.00" in shown.output
    assert "MRR 57.00 usd of 1 subscriptions" in shown.output
    as_csv = await type_in(settings, *words, "--csv")
    assert "usd,total,5700,0,0,0,0,0,5700" in as_csv.output
    empty = await type_in(settings, *words, "--month", "2020-02")
    assert "Nothing was paid" in empty.output
    wrong = await type_in(settings, *words, "--month", "2026-13")
    assert (wrong.exit_code, "such as 2026-10" in wrong.output) == (2, True)
