"""How the cluster tests recognise a head's connections, against a real Redis."""

import redis

from coordination.redis_client import RedisConnection
from testing.cluster.redis_view import CLIENT_NAME, is_in_use
from testing.redis_users import REDIS_PASSWORD

OLD, NEW = "ray-cslr-lab-1-aa", "ray-cslr-lab-2-bb"


def test_the_user_of_a_new_head_that_is_only_tried_writes_nothing(redis_address, redis_link):
    for user in (OLD, NEW):
        redis_link.command("ACL", "SETUSER", user, "on", f">{user}", "+ping")
    former, tried = (RedisConnection(redis_address, user, username=user) for user in (OLD, NEW))
    view = redis.Redis(redis_address.host, redis_address.port, password=REDIS_PASSWORD, client_name=CLIENT_NAME)

    def heads() -> set[str]:
        return {client["user"] for client in view.client_list() if is_in_use(client)} & {OLD, NEW}

    former.command("PING")
    assert heads() == {OLD}
    tried.command("PING")
    assert heads() == {OLD, NEW}
    for connection in (former, tried):
        connection.close()
