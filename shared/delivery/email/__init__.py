"""An export by email: its config, where its files stay, and its connection test.

Its mails are made and sent by `shared.outbox`.
"""
