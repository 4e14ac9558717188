"""Latent diffusion models as refiners."""
