"""The API's answers, as the use cases return them. The miner protocol's are in `agent.protocol.answers`."""
