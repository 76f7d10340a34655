"""New versions of the agent: how it was installed, what a release contains, and how one version replaces another."""
