"""Each app of a project has its own part of the answers, with a version of its own."""

from domain.model import StoredSet
from tests.flows.event_path import EventPath


async def buy(path: EventPath, customer: str, plan: str) -> None:
    await path.buy(customer, plan)
    for event in await path.events():
        await path.deliver(event)
    await path.drain()


async def stored(path: EventPath, app: str) -> StoredSet:
    found = await path.stored(app=app)
    assert found is not None
    return found


async def test_a_bundle_gives_each_app_its_part_and_no_other(path: EventPath) -> None:
    await buy(path, await path.make_customer(), "pro")
    editor, viewer = await path.answer(app="editor"), await path.answer(app="viewer")
    assert list(editor) == ["export", "projects", "seats", "sso", "support"]
    assert list(viewer) == ["export", "formats", "sso", "support"]
    assert (editor["projects"]["value"], viewer["formats"]["value"]) == (50, ["pdf", "png"])
    assert editor["export"] == viewer["export"]


async def test_a_change_that_one_app_sees_leaves_the_set_of_the_other_as_it_is(path: EventPath) -> None:
    customer = await path.make_customer()
    await buy(path, customer, "pro")
    editor, viewer = await stored(path, "editor"), await stored(path, "viewer")
    await buy(path, customer, "extra_projects")
    assert (await path.answer(app="editor"))["projects"]["value"] == 60
    assert (await stored(path, "editor")).first_version > editor.last_version
    assert await stored(path, "viewer") == viewer
