"""Makes step_gradient.npy: the VSD gradient on the latents in the oracle's generator step. Minutes.

The oracle keeps the gradients of the weights after clipping, and not the noise that VSD drew. The weights' gradients
are linear in the latent's, which 768 backward passes and a least-squares fit therefore give back. The fit leaves 2e-6
of them; and the mean square of what it finds is the oracle's VSD loss, which the fit knows nothing of.

PYTHONPATH=. python tests/golden/step_gradient.py ../shared/oracle
"""

import sys
from pathlib import Path

import numpy as np
import torch

from tests.oracle.test_training import PREFIX, forward, our_name
from train.state import trainable


def main(oracle: Path) -> None:
    restorer, clean, pixel = forward(oracle)
    golden = np.load(oracle / "generator/train_gen_step.npz")
    names = [key for key in golden if key.startswith(PREFIX)]
    weights = [trainable(restorer)[our_name(key.removeprefix(PREFIX))] for key in names]
    unclipped = float(golden["total_grad_norm_before_clip"])
    total = unclipped * torch.cat([torch.from_numpy(golden[key]).flatten() for key in names]).double()
    of_pixel = torch.autograd.grad(pixel, clean, retain_graph=True)[0].flatten().double()
    directions = torch.eye(clean.numel()).view(-1, *clean.shape)
    passes = torch.autograd.grad(clean, weights, directions, is_grads_batched=True)
    jacobian = torch.cat([part.flatten(1) for part in passes], 1).double()
    result = torch.linalg.lstsq(jacobian.T, total[:, None], driver="gelsd").solution[:, 0]
    residual = (jacobian.T @ result - total).norm() / total.norm()
    gradient = (result - of_pixel) * clean.numel() / 2
    sys.stdout.write(f"residual {residual:.2g}, loss {gradient.square().mean():.6f} of {golden['loss_kl']:.6f}\n")
    np.save(Path(__file__).with_suffix(".npy"), gradient.view(clean.shape).float().numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
