"""What a network predicts, found by asking it: files of SD 2.x do not say whether it is the noise or the velocity."""

from __future__ import annotations

from typing import Any

import torch

_CELLS = 32
_LATEST = 999  # the timestep where next to nothing but noise is left


@torch.inference_mode()
def measured_prediction(unet: Any) -> str:
    """ "epsilon" or "v_prediction", by one small evaluation on pure noise at the last timestep.

    There the noise prediction of a trained network is nearly its input, while the velocity is nearly the negative of the
    clean picture, which has little to do with it (Salimans and Ho 2022, appendix D).
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, unet.config["in_channels"], _CELLS, _CELLS, generator=generator)
    weight = next(unet.parameters())
    text = torch.zeros(1, 77, unet.config["cross_attention_dim"], dtype=weight.dtype, device=weight.device)
    output = unet(noise.to(weight), torch.tensor(_LATEST, device=weight.device), encoder_hidden_states=text).sample
    alike = torch.corrcoef(torch.stack([noise.flatten(), output.float().cpu().flatten()]))[0, 1]
    return "epsilon" if float(alike) > 0.5 else "v_prediction"
