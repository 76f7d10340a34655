"""One miner for a Ray cluster: `connection` is the only module that imports ray; `node` and `runner_host` run on the nodes."""
