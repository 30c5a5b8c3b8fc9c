"""An export by email: what it is told, where its files stay, and its connection test.

Its mails are made and sent by `shared.outbox`.
"""
