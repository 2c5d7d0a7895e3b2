"""What the devel container and whoever logs in to it agree on."""

USER = "cslr"  # in the images: the user 1000
KEYS_FILE = "authorized_keys"
KEYS_TARGET = "/run/cslr/keys"  # folder of KEYS_FILE
HOST_KEYS_TARGET = "/host-keys"
