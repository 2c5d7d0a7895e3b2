"""The room for packages: which of them count."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator

from entrypoints.queue.packages import Packages


def test_a_package_that_is_sent_again_needs_no_further_room(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train.py", "print(1)")
    content = buffer.getvalue()
    name = hashlib.sha256(content).hexdigest()
    packages = Packages(tmp_path, len(content), most=len(content) + 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    for _ in range(2):
        asyncio.run(packages.keep(name, chunks()))
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.zip"]
