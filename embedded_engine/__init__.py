"""The embedded engine: the unchanged program, without the Pulumi CLI.

It runs ``__main__.py`` on Pulumi's test interface and makes each registered resource real on the Docker Engine. What is
desired is what the program registers; what is there is what Docker reports for objects that carry our labels.

Read in this order: `run` (one run from lock to result), `program` (the program under mocks), `deployment` (what happens
to one resource), `resources` (how each type is read, created, deleted).
"""
