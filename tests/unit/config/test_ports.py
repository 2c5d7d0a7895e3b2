"""The port plan: services that share an address share no port."""

from config import ports
from config.ports import BRIDGE_RAY_PORTS, FIRST_WORKER, HOST_RAY_PORTS, LAST_WORKER, host_ports

EPHEMERAL = 32768  # where Linux begins to give ports away by itself
RAY_CLIENT_SERVERS = range(23000, 24001)  # Ray's own, one for each connected client


class TestHostNetwork:
    def test_no_port_is_taken_twice(self):
        taken = [
            (port, service)
            for service in ("ray-gateway", *HOST_RAY_PORTS)
            for _, first, last in host_ports(service)
            for port in range(first, last + 1)
        ]
        numbers = [port for port, _ in taken]
        assert len(numbers) == len(set(numbers)) > 3 * ports.WORKER_PORTS

    def test_no_port_is_one_that_the_kernel_or_ray_gives_away(self):
        for service in ("ray-gateway", *HOST_RAY_PORTS):
            for _, first, last in host_ports(service):
                assert last < EPHEMERAL
                assert not set(range(first, last + 1)) & set(RAY_CLIENT_SERVERS)

    def test_only_the_head_has_ports_of_a_head(self):
        having = {service for service, flags in HOST_RAY_PORTS.items() if set(ports.HEAD_FLAGS.values()) <= set(flags)}
        assert having == {"ray-head"}
        assert not {*HOST_RAY_PORTS["ray-cpu"], *HOST_RAY_PORTS["ray-gpu"]} & set(ports.HEAD_FLAGS.values())

    def test_every_node_fixes_the_same_kinds_of_ports(self):
        workers = [set(flags) - set(ports.HEAD_FLAGS.values()) for flags in HOST_RAY_PORTS.values()]
        assert all(flags == workers[0] for flags in workers)
        assert set(BRIDGE_RAY_PORTS) == workers[0] | set(ports.HEAD_FLAGS.values())

    def test_every_node_has_room_for_its_worker_processes(self):
        for flags in HOST_RAY_PORTS.values():
            assert flags[LAST_WORKER] - flags[FIRST_WORKER] == ports.WORKER_PORTS - 1
