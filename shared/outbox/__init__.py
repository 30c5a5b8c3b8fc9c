"""Mail to people: exports that are ready, exports that failed or were suspended, batches that ended.

A mail is a document (`mails`), made in the transaction that makes true what it tells. The function
`send_mail` sends it, once (`sending`), through SendGrid (`sendgrid`), as a letter (`letters`). Where it tells
of files it carries a link of ours (`links`), which `api` answers.
"""
