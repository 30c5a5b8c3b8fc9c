"""Batches: a customer's archive of work orders, imported.

What is read from an archive is decided by pure functions, given only a way to read ranges of its bytes:

    archive     the list of files at a zip's end, and one file unpacked and checked
    folders     which files make which work order, and slices of whole work orders
    json_files  `metadata.json` and `parameters.json`, strictly
    problems    every code of a problem, what it means and what to do
"""
