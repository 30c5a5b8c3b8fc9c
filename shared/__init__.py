"""The code that Waybill's functions share: one package a capability, imports running one way.

exports → delivery, sources → workorders, accounts → http, gcp → settings, errors, logs, clock.
"""

import gc
import os

GARBAGE_OBJECTS = 50_000
"""After how many new objects Python looks for garbage that refers to itself, in place of 700: a start makes
some 300,000 objects, all of which stay, and would look through them hundreds of times. Garbage of so many
objects is some 10 MB.
https://docs.python.org/3.11/library/gc.html#gc.set_threshold"""

gc.set_threshold(GARBAGE_OBJECTS, *gc.get_threshold()[1:])

# Else pydantic reads the metadata of every installed package, to find plugins; we have none.
# https://docs.pydantic.dev/latest/concepts/plugins/#disabling-plugins
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
