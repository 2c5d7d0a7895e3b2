"""`ws client`: a folder with all that a person needs to use a stack from a computer of their own.

Read in this order: `endpoints` (what the person reaches, and how), `bundle` (the files of the folder, from `templates/`
and `laptop/`), `making` (the bundle of a stack), `folder` (writes it), `command`.
"""
