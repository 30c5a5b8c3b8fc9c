"""Firestore in native mode over gRPC, on this machine: see README.md for what is built."""

from infra.local.firestore.service import FirestoreService, HeldCommits

__all__ = ["FirestoreService", "HeldCommits"]
