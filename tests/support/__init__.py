"""What tests share: a real coordinator on a real socket, and a miner that does as it is told."""
