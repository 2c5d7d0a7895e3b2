"""`ws export`: a stack in the form of other systems, for groups that outgrow plain hosts.

Read in this order: `kuberay` (the manifests, from settings alone), `command` (what they need of this host).
"""
