"""Control groups: what a container may use of the machine, and what it has used.

The kernel has two interfaces. In version 1 each controller has a hierarchy of its own; in
version 2 there is one for all. On a hybrid machine both are there, and version 2, without
controllers, still freezes and kills. What monitors import of this package imports little.
"""
