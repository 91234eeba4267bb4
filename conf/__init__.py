"""The configuration, as Hydra composes it."""
