"""Makes a host ready for a deployment, where it may: on Debian and its kin, as root. Elsewhere it says what to do."""
