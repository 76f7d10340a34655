"""Receipts for those whom they concern, and their verification."""
