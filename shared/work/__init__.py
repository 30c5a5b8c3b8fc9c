"""The one engine for work that takes time: leased, retried, cancelled, swept and finished once.

kinds     what a kind of work declares, and what a step may return
pieces    a piece as Firestore holds it
attempts  an attempt at a piece: its lease, its heartbeat, what it saves
engine    performs a piece
stages    moves a work from stage to stage, and publishes its pieces
control   creates, cancels and retries a work
changed   a document as it will be
slots     which of a customer's works can run
sweep     resumes pieces that nobody is alive at
overview  what operators look at

`docs/developers/work.md` explains it, and how to add a kind.
"""
