"""Answers to the exercises of chapter 14."""

from cnnbook.answers import Answer, says


def right_evolution(evolution):
    import numpy as np

    from cnnbook import search

    sizes, best = (3, 2, 3, 3, 3), (2, 1, 0, 2, 1)

    def reward(string):
        assert len(string) == len(sizes), f"{string!r} is no string of {len(sizes)} numbers"
        return float(np.mean(np.equal(string, best)))

    ends = []
    for seed in range(3):
        trail = search.spend(evolution(sizes, seed), reward, 150)
        asked = [tuple(map(int, string)) for string, _ in trail]
        wrong = [
            string for string in asked if any(not 0 <= c < n for c, n in zip(string, sizes, strict=True))
        ]
        assert not wrong, f"{wrong[0]} is no string of the space {sizes}"
        for i, string in enumerate(asked[30:], 30):
            near = min(sum(a != b for a, b in zip(string, earlier, strict=True)) for earlier in asked[:i])
            assert near <= 1, f"child {i} differs from every earlier one in {near} decisions: change one"
        ends.append(np.mean([earned for _, earned in trail[-30:]]))
    again = search.spend(evolution(sizes, 0), reward, 20)
    assert again == search.spend(evolution(sizes, 0), reward, 20), "the same seed asked for other strings"
    # Chance earns 0.37 on average here; a searcher that changes one decision of the best cannot stay below this.
    assert min(ends) > 0.65, (
        f"on a made-up reward your last 30 children earn {min(ends):.2f}: too few for a search"
    )


def right_reinforce(step):
    import numpy as np

    rng = np.random.default_rng(14)
    for n in (2, 3, 5):
        logits, rewards = rng.normal(size=n), rng.uniform(size=8)
        choices = rng.integers(n, size=8)
        given = logits.copy()
        yours = np.asarray(step(logits, choices, rewards, 0.7), dtype=float)
        assert np.array_equal(logits, given), (
            "your function changes the logits that it is given: return new ones"
        )
        p = np.exp(given) / np.exp(given).sum()
        wanted = given + 0.7 * np.mean((rewards - rewards.mean())[:, None] * (np.eye(n)[choices] - p), axis=0)
        assert yours.shape == wanted.shape, f"the shape is {yours.shape}, not {wanted.shape}"
        apart = float(np.abs(yours - wanted).max())
        assert apart < 1e-9, f"with {n} choices the new logits differ by up to {apart:.2g}"


def right_verdict(answer):
    import numpy as np

    earned, verdict = answer
    assert set(earned) == {"controller", "random"}, 'give lists under "controller" and "random"'
    a, b = (np.asarray(earned[name], dtype=float) for name in ("controller", "random"))
    assert min(len(a), len(b)) >= 20, "twenty searches of each kind are wanted"
    assert all(0 < value < 1 for value in (*a, *b)), "rewards are accuracies between 0 and 1"
    errors = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))
    decided = abs(a.mean() - b.mean()) > 2 * errors
    means = f"the means are {a.mean():.4f} and {b.mean():.4f}, the spread of their difference is {errors:.4f}"
    says(verdict, decided, means)


ANSWERS = {
    "strings": Answer(
        384,
        why="The operations are chosen freely in each node, and what a node reads is chosen among the nodes before it.",
        hints=(
            "Count the choices of each of the five decisions, then multiply.",
            "Operations are chosen three times, the sources once among two and once among three.",
        ),
    ),
    "growth": Answer(
        4.28415,
        tolerance=0.01,
        why="Depth counts once, width and side count twice.",
        hints=(
            "Which of the three factors enter the cost as a square?",
            "Multiply the depth factor by the squares of the other two.",
        ),
    ),
    "evolution": Answer(
        right_evolution,
        why="It learns nothing but which strings were good, and changes them a little; Real et al. found such nets, too.",
        hints=(
            "Keep the strings and rewards that `tell` brings in a list, and only look at the newest twenty.",
            "Copy the best of a few drawn from that list, and draw one of its decisions anew.",
        ),
    ),
    "reinforce": Answer(
        right_reinforce,
        why="Each choice moves the logits by what was chosen less what was expected, times its reward above the mean.",
        hints=(
            "The baseline is the mean of the rewards; the probabilities are the softmax of the logits.",
            "np.eye(len(logits))[choices] has a row for each choice; subtract the probabilities, weigh the rows, average.",
        ),
    ),
    "verdict": Answer(
        right_verdict,
        why="With many searches the means are known much better than a single search, so compare these.",
        hints=(
            "How far would the difference of two means move if you repeated everything?",
            "Its spread is the root of the sum of both variances, each divided by its number of searches; ask for two.",
        ),
    ),
}
