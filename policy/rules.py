"""The table of rules. An exemption stands beside its reason; what is not exempt is refused."""

from policy import files, rights, running
from policy.rule import Exemption, Rule

FACTORY = "Declare the container by `run_container` (components/docker.py), which sets this."

RULES = (
    Rule(
        name="user-not-root",
        statement="A container's processes run as a numbered user other than root.",
        reason="Root in a container is root on the host after any escape from it, and a name is what its image makes "
        "of it.",
        remedy="Give the service a `user` such as 1000:1000.",
        look=rights.root_user,
        exemptions=(
            Exemption(
                services=("firewall",),
                found="user 0:0",
                reason="Docker gives a capability to root alone (decision 28)",
            ),
        ),
    ),
    Rule(
        name="no-capabilities",
        statement="All capabilities are dropped.",
        reason="The default ones let a process change owners, open raw sockets and more; no service needs that.",
        remedy="Remove it from `capabilities` in the service's `ContainerSpec`.",
        look=rights.capabilities,
        exemptions=(
            Exemption(
                services=("firewall",),
                found="CAP_NET_ADMIN",
                reason="it sets the rules of this host's nftables (decision 28)",
            ),
        ),
    ),
    Rule(
        name="no-new-privileges",
        statement="No process gains rights by the program that it starts, and Docker's own protections stay on.",
        reason="A set-uid program in an image would make any user root; seccomp and AppArmor keep kernel bugs away.",
        remedy=FACTORY,
        look=rights.new_privileges,
    ),
    Rule(
        name="unprivileged",
        statement="It is not privileged, and has no device, additional group, cgroup or kernel setting of the host.",
        reason="Each of them opens the host itself.",
        remedy=FACTORY,
        look=rights.privileges,
    ),
    Rule(
        name="own-namespaces",
        statement="Processes, shared memory and cgroups are its own, and its network is its own or the stack's.",
        reason="Whoever shares the host's reaches its ports on loopback, sees or signals its processes, or reads "
        "their memory. On Docker's default bridge, containers of others reach it.",
        remedy="Use the network `bridge`, and leave `host_pids` off.",
        look=rights.namespaces,
        exemptions=(
            Exemption(
                services=("firewall",),
                found="networkMode host",
                reason="its rules are those of the host's network (decision 28)",
            ),
            Exemption(
                services=("ray-gateway", "ray-head", "ray-cpu", "ray-gpu"),
                found="networkMode host",
                reason="Ray's nodes reach each other on many ports of their hosts' addresses (decision 20)",
                several_hosts=True,
            ),
            Exemption(
                services=("exporter",),
                found="pidMode host",
                reason="NVML names the users of a GPU by the host's process ids (decision 31)",
            ),
        ),
    ),
    Rule(
        name="gpus-where-used",
        statement="Only what computes on GPUs, or measures them, has them.",
        reason="With a GPU come the driver's devices and libraries.",
        remedy="Leave `gpus` of the service's `ContainerSpec` out.",
        look=rights.gpus,
        exemptions=(
            Exemption(services=("ray-gpu",), found="GPUs", reason="tasks compute on them"),
            Exemption(services=("transcription",), found="GPUs", reason="its model may run on one"),
            Exemption(services=("exporter",), found="GPUs", reason="it measures them (decision 31)"),
        ),
    ),
    Rule(
        name="read-only-root",
        statement="The root file system is read-only.",
        reason="An attacker cannot change programs, and nothing that is written there is lost unnoticed.",
        remedy=FACTORY,
        look=files.writable_root,
    ),
    Rule(
        name="tmpfs-options",
        statement="A file system in memory has a limit of its size, and runs no programs, set-uid programs or devices.",
        reason="It is the place that every process may write to.",
        remedy="Mount it with `noexec,nosuid,nodev,size=…`.",
        look=files.tmpfs,
        exemptions=(
            Exemption(
                services=("ray-head", "ray-cpu", "ray-gpu", "marimo", "devel"),
                found="/tmp without noexec",  # noqa: S108
                reason="people's own code runs there, and some of it compiles or unpacks libraries in /tmp, whatever "
                "TMPDIR says",
            ),
        ),
    ),
    Rule(
        name="no-docker-socket",
        statement="No container has the Docker socket.",
        reason="Whoever may use it is root on the host.",
        remedy="Let the keeper do it, or tell it: it lists the stack's containers in a file.",
        look=files.docker_socket,
        exemptions=(
            Exemption(
                services=("keeper",),
                found="Docker socket at /run/docker.sock",
                reason="it restarts unhealthy containers, and therefore has no network and no secret (decision 18)",
            ),
        ),
    ),
    Rule(
        name="no-host-folders",
        statement="No container has the host's system folders, or another stack's files.",
        reason="Through them a program becomes root on the host, changes it, or reads others' secrets.",
        remedy="Mount the one folder or file that is needed, or a volume.",
        look=files.host_folders,
        exemptions=(
            Exemption(
                services=("exporter",),
                found="/sys controls this host's kernel and devices (read-only)",
                reason="it reads the host's and the cgroups' figures there (decision 31)",
            ),
        ),
    ),
    Rule(
        name="own-files-read-only",
        statement="The platform's programs, secrets and other files of the stack's state folder are read-only.",
        reason="Several containers run the same programs: one could change those of all.",
        remedy="Mount it with `read_only=True`.",
        look=files.own_files,
        exemptions=(
            Exemption(
                services=("keeper",),
                found="/run/containers is writable",
                reason="it tells others there which containers there are, since they may not ask Docker (decision 18)",
            ),
            Exemption(
                services=("ray-head",),
                found="/var/lib/cslr is writable",
                reason="the newest epoch outlives its container, so that no older head returns (decision 8)",
                several_hosts=True,
            ),
            Exemption(
                services=("ray-head", "ray-cpu", "ray-gpu"),
                found="/run/dashboards is writable",
                reason="whichever leads writes its dashboards for Grafana there, which only reads them (decision 35)",
            ),
            Exemption(
                services=("ray-cpu", "ray-gpu"),
                found="/run/cslr/transcription/data is writable",
                reason="transcription jobs on Ray put there what they heard, for the service to read (decision 33)",
            ),
            *(
                Exemption(
                    services=("ray-head", "ray-cpu", "ray-gpu", "marimo", "devel"),
                    found=f"{target} is writable",
                    reason="where images are pulled, people's work is in folders there (decision 23)",
                )
                for target in ("/scratch", "/home/cslr")
            ),
        ),
    ),
    Rule(
        name="private-mounts",
        statement="What is mounted later below a mount is not passed on, in neither direction.",
        reason="A container could mount over the host's files, and the host's new disks would appear in it.",
        remedy="Leave the mount's propagation out; Docker's default is private.",
        look=files.propagation,
    ),
    Rule(
        name="secrets-as-files",
        statement="No environment variable has a secret's name and the secret itself as its value.",
        reason="`docker inspect`, engines' state, child processes and crash reports show the environment.",
        remedy="Name it in `env_secrets`, or mount it as a file and pass its path (docs/secrets.md).",
        look=files.secret_variables,
    ),
    Rule(
        name="no-secret-shown",
        statement="No secret that the platform made is in an input of any resource.",
        reason="Inputs are in engines' state and previews, in labels, in `docker inspect` and in images' histories.",
        remedy="Mount the secret as a file (stack/secrets.py).",
        look=files.secret_values,
        containers_only=False,
    ),
    Rule(
        name="own-secret-shown",
        statement="No secret that the stack's owner chose is in an input of any resource, and none in `env`.",
        reason="It is shown like one of the platform's. But what people choose may equal another text by chance.",
        remedy="Take it out of the stack file's plain text and name its variable in `env_secrets` (docs/secrets.md), "
        "or choose another value.",
        look=files.own_secret_values,
        containers_only=False,
        advisory=True,
    ),
    Rule(
        name="fixed-image",
        statement="An image is named by its ID or digest.",
        reason="A tag can come to mean another image, which nobody has seen before.",
        remedy="Pass the ID that the image's resource returns (decision 5).",
        look=running.image,
    ),
    Rule(
        name="limits",
        statement="Memory and CPUs are limited, and nothing swaps.",
        reason="One container would take what all others need, and its host with it.",
        remedy="Set `cpus` and `memory` of the service.",
        look=running.limits,
    ),
    Rule(
        name="published-as-asked",
        statement="Ports are published on loopback, or on the address that the stack file opens.",
        reason="Docker's default is every address, past the host's own firewall.",
        remedy="Publish by `Service._publish`, and open a host by `network.bind_address`.",
        look=running.ports,
    ),
    Rule(
        name="log-limit",
        statement="Logs are rotated.",
        reason="A talkative program fills the host's disk.",
        remedy=FACTORY,
        look=running.log,
    ),
    Rule(
        name="restarts",
        statement="It restarts after a crash or a restart of the host, and stays stopped if a person stops it.",
        reason="A service that is down answers nobody, and one that cannot be stopped cannot be examined.",
        remedy=FACTORY,
        look=running.restarts,
    ),
    Rule(
        name="health-check",
        statement="It has a health check.",
        reason="Without one, deployment, keeper and health page take a program that hangs for one that works.",
        remedy="Set `healthcheck` of the service's `ContainerSpec`.",
        look=running.health,
    ),
)
