"""What MLflow's answers say about an account that it was asked for: whether it is certain that none was made."""

import pytest

from testing.client_servers import web
from ws.errors import WsError
from ws.users.accounts import Accounts, RefusedError


def accounts(address: str) -> Accounts:
    return Accounts(api=address, host="mlflow", authorization="Basic none")


@pytest.mark.parametrize(("status", "certain"), [(400, True), (403, True), (404, True), (500, False), (503, False)])
def test_a_refusal_is_certain_and_a_failure_of_the_server_is_not(status, certain):
    said = pytest.raises(WsError, match=rf"^MLflow refuses \({status}\): not this one$")
    with web(_create=(status, '{"message": "not this one Error: with a hash"}')) as address, said as raised:
        accounts(address).add("alice", "a-password")
    assert isinstance(raised.value, RefusedError) is certain


def test_no_answer_is_not_certain():
    with web() as address:
        pass
    with pytest.raises(WsError, match="MLflow does not answer") as raised:
        accounts(address).add("alice", "a-password")
    assert not isinstance(raised.value, RefusedError)
