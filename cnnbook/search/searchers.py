"""Two ways to choose the next child, behind one interface: ask for a string, tell what it earned.

The controller is that of Zoph & Le 2017, arXiv:1611.01578, section 3, with a linear autoregressive policy in place of their
recurrent network: few strings need no more, and its gradient is one line.
"""

import numpy as np

__all__ = ["Controller", "RandomSearch", "spend"]


class RandomSearch:
    """Every string is as likely as any other, whatever was earned. sizes: choices of each decision; seed: of the draws."""

    def __init__(self, sizes, seed=0):
        self.sizes, self.rng = tuple(sizes), np.random.default_rng(seed)

    def ask(self):
        """The next string to try: a tuple of numbers."""
        return tuple(int(self.rng.integers(size)) for size in self.sizes)

    def tell(self, string, reward):
        """Learns nothing."""


class Controller:
    """An autoregressive softmax policy, trained by REINFORCE (Williams 1992) with a moving baseline.

    Decision t is drawn from softmax(f @ W_t). f holds a 1 and, one-hot, the choices made before, so that what is written
    earlier moves what is likely later. All weights begin at 0: every string is as likely as any other.

    sizes: choices of each decision. rate: of a step, times reward minus baseline: where rewards differ by tenths about 4,
    where they differ by 1 about 1; larger ones settle before they have looked. memory: the share of the old baseline that
    stays when a reward comes in; the first reward is the first baseline. seed: of the draws.
    weights: a list of arrays (1 + choices of all earlier decisions, choices), float64.
    """

    def __init__(self, sizes, seed=0, *, rate=4.0, memory=0.8):
        self.sizes, self.rng = tuple(sizes), np.random.default_rng(seed)
        self.rate, self.memory, self.baseline = rate, memory, None
        self.weights = [np.zeros((1 + sum(self.sizes[:t]), size)) for t, size in enumerate(self.sizes)]

    def features(self, before):
        """A 1, and one-hot the choices `before`: (1 + choices of these decisions,)."""
        parts = [np.eye(size)[choice] for size, choice in zip(self.sizes, before, strict=False)]
        return np.concatenate([np.ones(1), *parts])

    def probabilities(self, before=()):
        """How likely each choice is in the decision that follows the choices `before`."""
        logits = self.features(before) @ self.weights[len(before)]
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()

    def ask(self):
        """The next string to try: a tuple of numbers, decision by decision."""
        string = ()
        for size in self.sizes:
            string += (int(self.rng.choice(size, p=self.probabilities(string))),)
        return string

    def log_probability(self, string):
        """The logarithm of the probability that `ask` gives this string."""
        return sum(np.log(self.probabilities(string[:t])[choice]) for t, choice in enumerate(string))

    def gradient(self, string):
        """The gradient of `log_probability` in the weights, as arrays of their shapes: what was chosen less what was
        expected, for every feature that was 1."""
        return [
            np.outer(self.features(string[:t]), np.eye(size)[string[t]] - self.probabilities(string[:t]))
            for t, size in enumerate(self.sizes)
        ]

    def tell(self, string, reward):
        """One step of REINFORCE: the string becomes more likely by as much as it earned above the baseline."""
        if self.baseline is None:
            self.baseline = reward
        for weights, gradient in zip(self.weights, self.gradient(string), strict=True):
            weights += self.rate * (reward - self.baseline) * gradient
        self.baseline = self.memory * self.baseline + (1 - self.memory) * reward

    def marginals(self):
        """How likely each choice is in each decision, over all that may be written before: a list of arrays (choices,)."""
        found = [np.zeros(size) for size in self.sizes]

        def walk(before, probability):
            t = len(before)
            if t < len(self.sizes):
                here = probability * self.probabilities(before)
                found[t] += here
                for choice, p in enumerate(here):
                    walk((*before, choice), p)

        walk((), 1.0)
        return found


def spend(searcher, reward, budget):
    """Lets a searcher have `budget` children; returns [(string, what it earned)] in order, exactly so many.

    searcher: `ask()` gives a string, `tell(string, reward)` takes what it earned. reward: a function of a string, called
    once for each child; a string that is asked for again is trained again. ValueError for a budget below 1.
    """
    if budget < 1:
        raise ValueError(f"a budget is a number of children from 1 on, got {budget}")
    trail = []
    for _ in range(budget):
        string = searcher.ask()
        earned = reward(string)
        searcher.tell(string, earned)
        trail.append((string, earned))
    return trail
