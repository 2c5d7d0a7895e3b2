"""Where Ray Train and Tune keep results and checkpoints."""

# The storage path that programs get unless they name one; unset: Ray's own, `~/ray_results`, in the home that nodes
# and notebooks of a host share. A path or a URL.
VARIABLE = "CSLR_CHECKPOINTS"
FOLDER = "/checkpoints"  # where nodes and notebooks have the folder of `ray.checkpoints`
