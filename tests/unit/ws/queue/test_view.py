"""What is said of a queue whose Ray does not answer, in the terminal and on the page."""

import pytest
from rich.console import Console

from contracts.queue import QueueView
from entrypoints.queue.page import TEMPLATES
from ws.queue.view import queue_view


@pytest.mark.parametrize("message", ["The queue has not asked Ray yet.", "The queue has not asked Ray yet", None])
def test_rays_message_ends_with_one_full_stop(message):
    view = QueueView(now=0.0, running=(), waiting=(), nodes=(), users=(), ray_answers=False, ray_message=message)
    page = TEMPLATES.get_template("summary.html").render(view=view, stack="dev", icon_colours={"unhealthy": "red"})
    with (console := Console(width=200)).capture() as printed:
        console.print(queue_view(view))
    said = ": The queue has not asked Ray yet" if message else ""
    assert f"Ray does not answer{said}. No job starts meanwhile." in printed.get()
    assert f"Ray does not answer</strong>{said}. No job starts meanwhile;" in page
