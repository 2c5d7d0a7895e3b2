"""`ws test --up | --run | --logs | --down`: the platform as another machine sees it.

Two containers in a Docker network of their own reach the stack only by its published ports. Read in this order: `plan`
(what must answer there, and what must not), `network` (the containers), `command`, `junit`.
"""
