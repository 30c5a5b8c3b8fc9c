"""Exports: configs and their schedules, runs in six steps, the manifest and the audit.

tick → plan → write → deliver → copy images → finish
"""
