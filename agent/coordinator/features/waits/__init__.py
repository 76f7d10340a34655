"""Why jobs wait, for their clients and for the owners of miners.

`explanation` finds the reasons, `words` and `owner_words` put them into sentences, and `notices` notifies clients when they change.
"""
