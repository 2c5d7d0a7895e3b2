"""Which TCP ports answer, asked from another network namespace: a program to run there, and how to read its answer."""

import json

SOURCE = """
import json, socket, sys
answers = []
for address, port in json.loads(sys.argv[1]):
    try:
        socket.create_connection((address, port), 1.5).close()
        answers.append([address, port])
    except OSError:
        pass
print(json.dumps(answers))
"""


def answered(said: str) -> list[tuple[str, int]]:
    """Those of the addresses and ports that answered, from what the program printed."""
    return [(address, port) for address, port in json.loads(said)]
