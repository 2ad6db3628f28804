"""Gold and proxy score along √KL, of a training run or of best-of-n, with the law of Gao et al. 2022 fitted to it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from rlhf.evaluation.findings import Sample, by_step
from rlhf.evaluation.overoptimisation.fits_table import BEST_OF_N
from rlhf.evaluation.reward_model.best_of import best_of_means, sizes_up_to
from rlhf.evaluation.reward_model.preferences import best_of_bound
from rlhf.objectives.overoptimisation import Form, explained, fit_gain, gold_gain, peak

Z = NormalDist().inv_cdf(0.975)
RESAMPLES = 200
"""Of the prompts, for the standard errors of α and β."""

DRAWN = 60
"""Points of a fitted law, as far as something was measured."""


@dataclass(frozen=True)
class Track:
    """One way away from the start, against one proxy.

    Attributes:
        name: of the proxy, or of the run. method: `best_of_n`, or the algorithm of the run.
        at: n, or the step; the first place is the start.
        kl: [places, prompts], nats per response; best-of-n's is the bound log n − (n − 1)/n, as Gao et al. take it.
        gold, proxy: [places, prompts], what the judge and what the proxy says.
        spread: standard deviation of the proxy's scores at the start: what a change of them is measured in.
        run: directory.
    """

    name: str
    method: str
    at: tuple[int, ...]
    kl: Tensor
    gold: Tensor
    proxy: Tensor
    spread: float
    run: str = ""

    @property
    def form(self) -> Form:
        return "best_of_n" if self.method == BEST_OF_N else "rl"

    def record(self, seed: int) -> dict[str, Any]:
        """What is drawn and printed: points with 95% intervals over prompts, and the fit.

        Args:
            seed: of the bootstrap.
        """
        distances = _distance(self.kl)
        points = []
        for i, place in enumerate(self.at):
            point: dict[str, Any] = {
                "n" if self.form == "best_of_n" else "step": place,
                "kl": float(self.kl[i].mean()),
                "distance": float(distances[i]),
            }
            for name, values in (
                ("gold", self.gold[i]),
                ("proxy", self.proxy[i]),
                ("gold_gain", self.gold[i] - self.gold[0]),
                ("proxy_gain", (self.proxy[i] - self.proxy[0]) / self.spread),
            ):
                half = Z * float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
                centre = float(values.mean())
                point |= {name: centre}
                point |= {f"{name}_low": centre - half, f"{name}_high": centre + half} if half == half else {}
            points.append(point)
        return {
            "name": self.name,
            "method": self.method,
            "run": self.run,
            "prompts": self.gold.shape[1],
            "points": points,
            "fit": self.fit(seed),
        }

    def fit(self, seed: int) -> dict[str, Any] | None:
        """α, β with bootstrapped standard errors, R², where the law has its peak, and the law as it is drawn; `None`
        from too few points.

        `beyond` says that the peak lies further out than anything that was measured.
        """
        d, gain = _distance(self.kl), (self.gold - self.gold[0]).mean(1)
        if len(d[d > 0].unique()) < 3:
            return None  # through two points goes any law
        alpha, beta = fit_gain(d, gain, self.form).tolist()
        errors = self._errors(seed)
        top = peak(alpha, beta, self.form)
        found = {"alpha": alpha, "beta": beta, "alpha_se": errors[0], "beta_se": errors[1]}
        found["r2"] = explained(gain, gold_gain(d, alpha, beta, self.form))
        found["peak_distance"] = top
        at = gold_gain(torch.tensor(top, dtype=torch.float64), alpha, beta, self.form) if top is not None else None
        found["peak_gain"] = float(at) if at is not None else None
        found["beyond"] = top is not None and top > float(d.max())
        along = torch.linspace(0, float(d.max()), DRAWN, dtype=torch.float64)
        law = gold_gain(along, alpha, beta, self.form)
        found["curve"] = {"kl": along.square().tolist(), "gain": law.tolist()}
        return found

    def _errors(self, seed: int) -> tuple[float | None, float | None]:
        """Standard deviations of α and β over fits to resampled prompts; a prompt stands for all of its answers."""
        prompts = self.gold.shape[1]
        if prompts < 2:
            return None, None
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(prompts, (RESAMPLES, prompts), generator=generator)
        gains = (self.gold - self.gold[0])[:, drawn].mean(-1).T
        distances = _distance(self.kl[:, drawn], -1).T
        try:
            spread = fit_gain(distances, gains, self.form).std(0)
        except ValueError:  # in one of them, all KL are below 0
            return None, None
        return float(spread[0]), float(spread[1])


def _distance(kl: Tensor, dim: int = 1) -> Tensor:
    """√KL of the mean; an estimate of a KL near 0 may lie below it."""
    return kl.mean(dim).clamp_min(0).sqrt()


def of_best_of_n(
    name: str, rewards: Sequence[Sequence[float]], scores: Sequence[Sequence[float]], run: str = ""
) -> Track:
    """Best of 1, 2, 4, … n by one proxy.

    Args:
        rewards, scores: [prompts][n], of the proxy and of the judge, none missing.
    """
    sizes = sizes_up_to(len(rewards[0]))
    proxy, gold = (torch.tensor(rows, dtype=torch.float64) for rows in best_of_means(rewards, scores, sizes))
    bounds = torch.tensor([best_of_bound(k) for k in sizes], dtype=torch.float64)
    spread = float(torch.tensor(rewards, dtype=torch.float64).std())
    kl = bounds[:, None].expand_as(gold)
    return Track(name, BEST_OF_N, tuple(sizes), kl, gold, proxy, spread or 1.0, run)


def of_samples(
    name: str, method: str, samples: Iterable[Sample], spread: float | None = None, run: str = ""
) -> Track | None:
    """A training run, from the same prompts at each evaluation; `None` where no prompt has all numbers at every one.

    Args:
        samples: with `score` (the proxy's), `gold` and `kl`.
        spread: of the proxy's scores at the start, where more of them are known than those of step 0.
    """
    groups = {
        step: {str(sample["prompt"]): sample for sample in group if _complete(sample)}
        for step, group in by_step(list(samples)).items()
    }
    if not groups:
        return None
    shared = set.intersection(*(set(group) for group in groups.values()))
    prompts = [prompt for prompt in groups[min(groups)] if prompt in shared]
    if len(prompts) < 2:
        return None
    kl, gold, proxy = (
        torch.tensor([[float(group[p][field]) for p in prompts] for group in groups.values()], dtype=torch.float64)
        for field in ("kl", "gold", "score")
    )
    return Track(name, method, tuple(groups), kl, gold, proxy, spread or float(proxy[0].std()) or 1.0, run)


def _complete(sample: Mapping[str, Any]) -> bool:
    return all(
        isinstance(value := sample.get(name), int | float) and math.isfinite(value) for name in ("score", "gold", "kl")
    )
