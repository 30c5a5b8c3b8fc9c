"""Google Cloud on a laptop: the services Waybill uses, in one process, as strict as production.

Nothing in `functions/` or `shared/` knows of this package.
"""
