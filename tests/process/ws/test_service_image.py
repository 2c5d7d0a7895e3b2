"""`ws build`: one image of a service, without a stack."""

import pytest

from ws.errors import WsError
from ws.service_image import NAMES, build_image
from ws.stack_settings import StackSettings


class TestBuild:
    def test_knows_the_images_of_services(self):
        assert {"system-info-exporter", "health", "redis"} <= {*NAMES}
        assert "ray-runtime" not in NAMES

    def test_of_an_image_of_the_family_is_refused_with_the_command_for_it(self):
        with pytest.raises(WsError, match=r"runtime is no image of a service.*\n.*ws matrix"):
            build_image("runtime", StackSettings.read("dev", {}), print)
