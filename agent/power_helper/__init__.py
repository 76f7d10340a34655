"""The helper that sets power limits of GPUs as root, for an agent that is not. `helper.py` is a program of its own.

`aitbc-agent service install --power-limits` copies it to where only root can change it, and starts it beside the agent
(`systemd/aitbc-power.service`). `agent.miner.energy.power_limits` talks to it.
"""
