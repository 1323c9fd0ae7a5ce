"""The demo's own judgement: an answer that is not what it must be fails the step, and the demo says which."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.local.demo import tell
from deploy.local.demo_operator import grant_what_nobody_bought
from deploy.local.demo_steps import (
    FormReader,
    Mismatch,
    Story,
    ask_as_the_other_project,
    ask_before_buying,
    pay_on_the_hosted_page,
)
from deploy.local.demo_subscription import press
from deploy.local.ports import free_port
from deploy.local.state import Ready, State
from deploy.local.web import Connection

NOT_GRANTED = {"granted": False, "reason": "no_subscription", "sources": []}


@contextmanager
def answering(body, status=200):
    """A server that gives every request this one answer; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def story_against(url, tmp_path, said):
    ready = Ready(
        base_url=url,
        webhook_url=url,
        read_url=url,
        stripe_url=url,
        stripe_secret_key="",
        webhook_secret="",
        operator_key="",
        app_keys={"acme/editor": "th_a", "globex/board": "th_b"},
        database_url="",
        redis_url="",
        cache_url="",
        pids={},
    )
    with Connection(url) as app:
        yield Story(tmp_path / "ready.json", ready, app, 3.0, 1.0, said.append)


@pytest.mark.parametrize(
    ("export", "problem"),
    [
        ({"granted": True, "reason": "purchase", "sources": []}, "'granted': True"),
        ({"granted": False, "reason": "not_in_plan", "sources": []}, "not_in_plan"),
    ],
)
def test_a_wrong_answer_fails_its_step_and_the_demo_names_both(tmp_path, export, problem):
    said: list[str] = []
    body = {"entitlements": {"export": export}}
    with answering(body) as url, story_against(url, tmp_path, said) as story:
        assert tell(story, State(tmp_path), said.append) is True
    assert said[0].startswith("✗ step 1 (ask before buying): expected ")
    assert problem in said[0]
    assert said[1] == f"  The logs are in {tmp_path / 'logs'}."
    assert len(said) == 2


def test_a_server_that_is_away_fails_the_step(tmp_path):
    said: list[str] = []
    with story_against(f"http://127.0.0.1:{free_port()}", tmp_path, said) as story:
        assert tell(story, State(tmp_path), said.append) is True
    assert said[0].startswith("✗ step 1 (ask before buying): GET http://127.0.0.1:")


def test_a_right_answer_passes_its_step(tmp_path):
    with (
        answering({"entitlements": {"export": NOT_GRANTED}}) as url,
        story_against(url, tmp_path, []) as story,
    ):
        assert "reason no_subscription" in ask_before_buying(story)


@pytest.mark.parametrize(
    "body",
    [
        {"project": "globex", "entitlements": {"export": NOT_GRANTED}},
        {"project": "acme", "entitlements": {}},
        {"project": "globex", "entitlements": {"boards": {"granted": True, "sources": [{"id": "sub_1"}]}}},
    ],
)
def test_anything_of_another_project_in_an_answer_fails_the_step(tmp_path, body):
    with (
        answering(body) as url,
        story_against(url, tmp_path, []) as story,
        pytest.raises(Mismatch),
    ):
        ask_as_the_other_project(story)


def test_an_operators_call_that_is_not_done_fails_its_step(tmp_path):
    with (
        answering({"entitlements": {"export": NOT_GRANTED}}) as url,
        story_against(url, tmp_path, []) as story,
        pytest.raises(Mismatch, match="expected status 201, got 501"),
    ):
        grant_what_nobody_bought(story)


def test_a_page_without_a_way_to_pay_is_not_paid():
    with (
        answering(b'<form action="/cancel"><button>Cancel</button></form>') as url,
        pytest.raises(Mismatch, match="a form that pays"),
    ):
        pay_on_the_hosted_page(url)


def test_a_portal_that_does_not_let_the_customer_cancel_fails_its_step():
    page = b'<form action="/p/session/bps_1/payment-method"><button>Update</button></form>'
    with answering(page) as url, pytest.raises(Mismatch, match="a form to /cancel"):
        press(f"{url}/p/session/bps_1", "/cancel")


def test_a_form_is_sent_with_the_fields_its_page_filled_in():
    forms = FormReader()
    forms.feed('<form action="/a"><input name="email" value="a@b.example"><input type="submit"></form><form>')
    assert [(form.action, form.fields) for form in forms.found] == [
        ("/a", {"email": "a@b.example"}),
        ("", {}),
    ]
