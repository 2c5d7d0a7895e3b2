"""Streams of pages that are open, and answers that are kept."""

import asyncio
import json
from contextlib import aclosing

import pytest

from entrypoints.health.page import events, kept
from entrypoints.health.page.events import Readers, TooManyReadersError
from entrypoints.health.page.kept import Kept

pytestmark = pytest.mark.asyncio
PATIENCE = 20.0  # seconds, on a busy machine


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "SECONDS", 0.05)


def changed(event: bytes) -> dict[str, str]:
    assert event.startswith(b"data: ")
    assert event.endswith(b"\nid: v1\n\n")
    assert event.count(b"\n") == 3
    found: dict[str, str] = json.loads(event[6:].partition(b"\n")[0])
    return found


class TestStream:
    async def test_sends_everything_then_what_changed_then_that_it_lives(self):
        looks = iter([{"a": "1\n2", "b": "1"}, {"a": "1\n2", "b": "2"}, {"a": "1\n2", "b": "2"}])

        async def look():
            return next(looks)

        async with aclosing(Readers("v1").follow(look)) as stream:
            assert [changed(await anext(stream)) for _ in range(3)] == [{"a": "1\n2", "b": "1"}, {"b": "2"}, {}]

    async def test_readers_are_bounded_and_one_that_goes_makes_room(self, monkeypatch):
        monkeypatch.setattr(events, "MOST_READERS", 2)
        readers = Readers("v1")

        async def look():
            return {}

        streams = [readers.follow(look) for _ in range(3)]
        await anext(streams[0])
        await anext(streams[1])
        with pytest.raises(TooManyReadersError):
            await anext(streams[2])
        await streams[0].aclose()
        assert readers.count == 1
        await anext(readers.follow(look))
        assert readers.count == 2

    async def test_a_look_that_fails_makes_room(self):
        readers = Readers("v1")

        async def look():
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            await anext(readers.follow(look))
        assert readers.count == 0

    async def test_the_end_ends_all_at_once(self, monkeypatch):
        monkeypatch.setattr(events, "SECONDS", 3600.0)
        readers = Readers("v1")

        async def look():
            return {}

        async def read() -> list[bytes]:
            return [event async for event in readers.follow(look)]

        reading = [asyncio.create_task(read()) for _ in range(5)]
        while readers.count < 5:
            await asyncio.sleep(0.01)
        readers.end()
        assert await asyncio.wait_for(asyncio.gather(*reading), PATIENCE) == [[b"data: {}\nid: v1\n\n"]] * 5
        assert readers.count == 0


class TestKeptAnswer:
    async def test_many_readers_cost_one_question(self):
        asked = []

        async def ask():
            asked.append(1)
            await asyncio.sleep(0.05)
            return len(asked)

        kept = Kept(ask, seconds=3600)
        assert await asyncio.gather(*(kept.get() for _ in range(20))) == [1] * 20
        assert await kept.get() == 1

    async def test_is_asked_again_when_it_is_old(self):
        asked = []

        async def ask():
            asked.append(1)
            return len(asked)

        kept = Kept(ask, seconds=0)
        assert [await kept.get(), await kept.get()] == [1, 2]

    async def test_nobody_waits_longer_than_their_patience(self):
        going_on = asyncio.Event()

        async def ask():
            await going_on.wait()
            return "answer"

        kept = Kept(ask, seconds=0)
        assert await kept.get(patience=0.01) is None
        going_on.set()
        assert await kept.get() == "answer"
        going_on.clear()
        assert await kept.get(patience=0.01) == "answer"
        going_on.set()

    async def test_a_failure_is_kept_for_a_shorter_time(self, monkeypatch):
        monkeypatch.setattr(kept, "FAILURE_SECONDS", 0.0)
        answers = iter(["no", "yes", "never asked"])

        async def ask():
            return next(answers)

        asked = Kept(ask, seconds=3600, is_failure=lambda answer: answer == "no")
        assert [await asked.get() for _ in range(3)] == ["no", "yes", "yes"]

    async def test_a_question_that_takes_long_is_asked_less_often(self):
        asked = []

        async def ask():
            asked.append(1)
            await asyncio.sleep(0.02)
            return len(asked)

        eased = Kept(ask, seconds=0, ease=1e6)
        assert [await eased.get(), await eased.get()] == [1, 1]

    async def test_a_question_that_fails_is_asked_again(self):
        answers = iter([OSError("no"), "answer"])

        async def ask():
            found = next(answers)
            if isinstance(found, OSError):
                raise found
            return found

        kept = Kept(ask, seconds=3600)
        with pytest.raises(OSError, match="no"):
            await kept.get()
        assert await kept.get() == "answer"
