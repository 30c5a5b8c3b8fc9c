"""Delivery onto the customer's own SFTP server.

Nothing there is overwritten or removed but our own temporary files. A file is written under a temporary name
and renamed when it is whole, so what has its final name is whole.
https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-02 is the version of SFTP that servers speak.
"""
