"""`ws generate`: the stack as a file for Docker Compose, made from what the program declares.

Read in this order: `program` (runs the program and keeps what it declares), `compose` (the same in Compose's words),
`text` (the file with its comments), `files`, `command`.
"""
