"""Programs as users of the platform write them; each is submitted as a file of a job's working directory, or piped in.

Their arguments say how much and where; what they print last is their result. They import what the nodes' image has.
"""
