"""The messages that people see for errors."""

import docker
import pytest
import requests

from ws.errors import message


def refused(status: int, explanation: str) -> docker.errors.APIError:
    answer = requests.Response()
    answer.status_code = status
    return docker.errors.APIError("refused", response=answer, explanation=explanation)


@pytest.mark.parametrize(
    ("status", "explanation", "said"),
    [
        (404, "No such container: x", "Docker did not find it: No such container: x"),
        (409, "container x is not running", "Docker refused because of a conflict: container x is not running"),
        (400, "bad parameter", "Docker refused the request: bad parameter"),
        (500, "no space left on device", "Docker failed: no space left on device\n  Run `ws doctor`."),
    ],
)
def test_docker_that_answers_is_told_with_what_it_answered(status, explanation, said):
    assert message(refused(status, explanation)) == said


def test_a_kind_of_its_own_is_one_too():
    answer = requests.Response()
    answer.status_code = 404
    error = docker.errors.NotFound("gone", response=answer, explanation="No such image: y")
    assert message(error) == "Docker did not find it: No such image: y"


@pytest.mark.parametrize("error", [requests.ConnectionError("refused"), docker.errors.DockerException("no socket")])
def test_docker_that_does_not_answer_is_told_as_that(error):
    assert str(message(error)).startswith("Docker does not answer: ")
