"""Enrolment tokens, with which miners join: operators create, list and revoke them. The kernel spends them."""
