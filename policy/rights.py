"""What a container's processes may do: user, capabilities, namespaces, devices."""

from collections.abc import Iterator

from policy.declared import Resource, Surroundings

ESCALATION = "no-new-privileges:true"
# Properties that give a container more of the host than any service of the platform needs.
PRIVILEGES = ("privileged", "devices", "deviceCgroupRules", "groupAdds", "sysctls", "usernsMode", "cgroupParent")
# Property → its values that share nothing with the host or another container.
NAMESPACES = {
    "networkMode": ("bridge", "none"),
    "pidMode": (None, ""),
    "ipcMode": (None, "", "private", "none"),
    "cgroupnsMode": (None, "", "private"),
}


def root_user(container: Resource, _around: Surroundings) -> Iterator[str]:
    """A user that is root, or whose name only the image could tell."""
    user = container.inputs.get("user")
    number = str(user or "").partition(":")[0]
    if not number.isdecimal() or int(number) == 0:
        yield f"user {user}"


def capabilities(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Capabilities that are kept or added."""
    declared = container.mapping("capabilities")
    if "ALL" not in (declared.get("drops") or ()):
        yield "Docker's default capabilities"
    yield from declared.get("adds") or ()


def new_privileges(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Security options that are missing, or that take a protection of Docker's away."""
    options = container.items("securityOpts")
    if ESCALATION not in options:
        yield f"no {ESCALATION}"
    yield from (str(option) for option in options if option != ESCALATION)


def privileges(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Properties that open the host."""
    yield from (key for key in PRIVILEGES if container.inputs.get(key))


def namespaces(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Namespaces that are shared with the host, or with containers of others."""
    for key, own in NAMESPACES.items():
        value = container.inputs.get(key)
        if value not in own:
            yield f"{key} {value}"
    if container.inputs.get("networkMode") == "bridge" and not container.items("networksAdvanced"):
        yield "Docker's default bridge"


def gpus(container: Resource, _around: Surroundings) -> Iterator[str]:
    """Requests for devices."""
    for request in container.items("deviceRequests"):
        yield "GPUs" if request.get("capabilities") == ["gpu"] else "devices other than GPUs"
    if container.inputs.get("gpus"):
        yield "GPUs"
