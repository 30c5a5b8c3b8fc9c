"""Mail to people: exports that are ready, exports that failed or were suspended, batches that ended.

A mail is a document (`mails`), created in the transaction that makes true what it says. The function
`send_mail` sends it once (`sending`), through SendGrid (`sendgrid`), as a letter (`letters`, `rendering`).
Where it is about files it has a link of ours (`links`), which `api` answers with a file or a page (`pages`).
"""
