"""Delivery into the customer's own bucket, under the customer's own account.

Of the four permissions that the customer grants, a run uses two: storage.objects.create and
storage.objects.get. Nothing there is overwritten, changed or deleted.
"""
