"""The search's policy, its gradient and its budget, and the space of cells."""

import numpy as np
import pytest

from cnnbook import experiments
from cnnbook.experiments import architecture_search
from cnnbook.search import Controller, RandomSearch, Space, spend

SIZES = (3, 2, 3, 3)
BEST = (2, 0, 1, 2)


def made_up(string):
    """The share of decisions that are those of BEST."""
    return float(np.mean(np.equal(string, BEST)))


def random_controller(seed=1):
    controller = Controller(SIZES, seed)
    for weights in controller.weights:
        weights += np.random.default_rng(seed).normal(size=weights.shape)
    return controller


def test_a_space_lists_its_strings_and_reads_them():
    space = Space({"operation": ("conv", "pool"), "reads": (0, 1, 2)})
    assert space.sizes == (2, 3) and len(list(space.strings())) == 6
    assert space.choices((1, 2)) == ("pool", 2)
    for wrong in ((1,), (1, 3), (-1, 0), (0, 0, 0)):
        with pytest.raises(ValueError, match="is no string of this space: it takes 2 numbers"):
            space.choices(wrong)
    for wrong in ({}, {"operation": ()}):
        with pytest.raises(ValueError, match="a choice or more"):
            Space(wrong)


def test_probabilities_sum_to_one_over_all_strings():
    controller = random_controller()
    space = Space(dict(zip("abcd", map(range, SIZES), strict=True)))
    everything = {string: np.exp(controller.log_probability(string)) for string in space.strings()}
    assert sum(everything.values()) == pytest.approx(1, abs=1e-12)
    for t, marginal in enumerate(controller.marginals()):
        wanted = [sum(p for s, p in everything.items() if s[t] == choice) for choice in range(SIZES[t])]
        np.testing.assert_allclose(marginal, wanted, atol=1e-12)


def test_it_draws_what_its_probabilities_say():
    controller = random_controller()
    drawn = [controller.ask()[0] for _ in range(4000)]
    shares = np.bincount(drawn, minlength=SIZES[0]) / len(drawn)
    np.testing.assert_allclose(shares, controller.probabilities(), atol=0.03)


def test_the_gradient_is_that_of_the_log_probability():
    controller, step = random_controller(), 1e-5
    for weights, gradient in zip(controller.weights, controller.gradient(BEST), strict=True):
        numerical = np.zeros_like(weights)
        for place in np.ndindex(weights.shape):
            weights[place] += step
            above = controller.log_probability(BEST)
            weights[place] -= 2 * step
            numerical[place] = (above - controller.log_probability(BEST)) / (2 * step)
            weights[place] += step
        np.testing.assert_allclose(gradient, numerical, atol=1e-9)


def test_a_step_goes_by_reward_minus_baseline():
    controller = Controller(SIZES, rate=2.0, memory=0.5)
    controller.tell(BEST, 0.4)
    assert controller.baseline == 0.4 and not any(weights.any() for weights in controller.weights)
    gradient = controller.gradient(BEST)
    controller.tell(BEST, 1.0)
    assert controller.baseline == pytest.approx(0.7)
    for weights, of_weights in zip(controller.weights, gradient, strict=True):
        np.testing.assert_allclose(weights, 2.0 * 0.6 * of_weights)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_best_string_of_a_made_up_reward(seed):
    controller = Controller(SIZES, seed, rate=1.0)
    trail = spend(controller, made_up, 300)
    assert np.mean([earned for _, earned in trail[-50:]]) > 0.9
    assert tuple(int(np.argmax(m)) for m in controller.marginals()) == BEST
    random = spend(RandomSearch(SIZES, seed), made_up, 300)
    assert np.mean([earned for _, earned in random[-50:]]) < 0.6


@pytest.mark.parametrize("kind", [Controller, RandomSearch])
def test_a_budget_is_spent_to_the_last_child_and_not_beyond(kind):
    asked = []
    trail = spend(kind(SIZES, 0), lambda string: asked.append(string) or 0.5, 37)
    assert [string for string, _ in trail] == asked and len(asked) == 37
    assert trail == spend(kind(SIZES, 0), lambda string: 0.5, 37), "the seed does not decide what is asked"
    with pytest.raises(ValueError, match="from 1 on, got 0"):
        spend(kind(SIZES, 0), made_up, 0)


def test_there_are_82_cells_in_162_strings():
    strings = architecture_search.strings()
    shapes = {architecture_search.shape_of(string) for string in strings}
    assert len(strings) == len(shapes) == 82
    same = ["conv(0) sep(0) pool(1)", "sep(0) conv(0) pool(2)"]
    assert len({architecture_search.shape_of(string) for string in same}) == 1
    assert architecture_search.shape_of("conv(0) sep(0) pool(2)") not in map(
        architecture_search.shape_of, same
    )
    trained = [s for part in architecture_search.SEARCH.variants.values() for s in part["children"]]
    assert sorted(trained) == sorted(strings)


def test_strings_of_one_cell_build_nets_of_one_size():
    nets = [architecture_search.child_of(s) for s in ("conv(0) sep(0) pool(1)", "sep(0) conv(0) pool(2)")]
    assert nets[0].count_params() == nets[1].count_params()
    assert nets[0].output.shape == (None, 10)


def test_the_cells_that_were_trained_again_are_those_of_the_table():
    rewards = {}
    for run in experiments.load("architecture_search.search").evidence():
        children = architecture_search.SEARCH.variants[run.variant]["children"]
        rewards |= dict(zip(children, run.values["reward"], strict=True))
    ranked = [architecture_search.shape_of(s) for s in sorted(rewards, key=rewards.get, reverse=True)]
    (again,) = architecture_search.AGAIN.variants.values()
    places = sorted(ranked.index(architecture_search.shape_of(s)) for s in again["children"])
    assert len(ranked) == 82
    assert places[:4] == [0, 1, 2, 3] and places[-2:] == [80, 81]
    assert all(abs(place - 40.5) < 4 for place in places[4:6]), f"two from the middle: {places[4:6]}"
