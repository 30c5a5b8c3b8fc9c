"""The code that Waybill's functions share: one package a capability, imports running one way.

exports → delivery, sources → workorders, accounts → http, gcp → settings, errors, logs, clock.
"""
