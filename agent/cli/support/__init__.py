"""The support bundle: one file with what somebody needs who helps the owner of a machine, without secrets and without clients' data.

`parts` collects, each part by itself; `known_secrets` and `redaction` remove what nobody else may see; `readme` says what is wrong.
"""
