"""One score a person out of many deals: scores (D, G) of folds whose models have scales of their own -> (G,).

A score is taken for

    score_dg = offset_f + scale_f * effect_g + noise,   f the fold that tested person g in deal d

Taking each fold's mean away would be wrong in small folds: where folds are stratified, those beside a patient
hold one patient fewer than those beside a control, so the difference tells the label of who is looked at. A
score that is age and nothing else then seemed to know more than age. Offsets are therefore estimated together
with the effects, by least squares; people of folds that no deal connects (one deal alone) can be compared
within their fold only, and that is what `component_G` says.

Letters: D deals, G people, F folds of all deals, K components.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDS = 20  # of scales and effects in turns
STILL = 1e-6  # change of the scales' logarithms
FLAT = 1e-9  # of the scores' spread


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonEffects:
    """A score for each person.

    Attributes:
        effect_G: in standard deviations, of mean 0 in each component.
        component_G: people of one number can be compared.
    """

    effect_G: Floats
    component_G: NDArray[np.intp]


def person_effects(score_DG: Floats, fold_DG: NDArray[np.int64]) -> PersonEffects:
    """Bring deals together.

    Args:
        score_DG: NaN where not tested.
        fold_DG: -1 where not tested; everybody is tested in some deal.
    """
    deal_M, person_M = np.nonzero(fold_DG >= 0)
    keys_M = deal_M * (int(fold_DG.max()) + 1) + fold_DG[deal_M, person_M]
    _, fold_M = np.unique(keys_M, return_inverse=True)
    score_M = score_DG[deal_M, person_M]
    component_G = _components(person_M, fold_M, score_DG.shape[1])
    in_one_fold_F = _alone(component_G[person_M], fold_M)
    score_M = score_M / _spreads(score_M, fold_M, only=in_one_fold_F)[fold_M]
    scale_F = np.ones(len(in_one_fold_F))
    effect_G = _additive(score_M, person_M, fold_M, component_G)
    for _ in range(ROUNDS):
        new_F = _scales(score_M, effect_G[person_M], fold_M, in_one_fold_F)
        change = np.abs(np.log(new_F / scale_F)).max()
        scale_F = new_F
        effect_G = _additive(score_M / scale_F[fold_M], person_M, fold_M, component_G)
        if change < STILL:
            break
    spread = effect_G.std()
    flat = spread <= FLAT * max(1.0, np.abs(score_M).max())
    return PersonEffects(
        effect_G=np.zeros_like(effect_G) if flat else effect_G / spread, component_G=component_G
    )


def _components(person_M: NDArray[np.intp], fold_M: NDArray[np.intp], people: int) -> NDArray[np.intp]:
    """Which people some chain of common folds connects (G,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes = people + int(fold_M.max()) + 1
    edges = coo_array((np.ones(len(person_M)), (person_M, people + fold_M)), shape=(nodes, nodes))
    _, of_node = connected_components(edges, directed=False)
    return np.unique(of_node[:people], return_inverse=True)[1]


def _alone(component_M: NDArray[np.intp], fold_M: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether a fold is all there is of its component (F,)."""
    pairs = np.unique(np.stack([component_M, fold_M]), axis=1)
    folds_K = np.bincount(pairs[0])
    return np.asarray(folds_K[pairs[0][np.argsort(pairs[1])]] == 1)


def _additive(
    score_M: Floats, person_M: NDArray[np.intp], fold_M: NDArray[np.intp], component_G: NDArray[np.intp]
) -> Floats:
    """Effects of people (G,), folds' offsets taken out by least squares, of mean 0 in each component."""
    people, folds = len(component_G), int(fold_M.max()) + 1
    incidence_GF = np.zeros((people, folds))
    np.add.at(incidence_GF, (person_M, fold_M), 1.0)
    tests_G = incidence_GF.sum(axis=1)
    person_sum_G = np.bincount(person_M, score_M, people)
    fold_sum_F = np.bincount(fold_M, score_M, folds)
    share_GF = incidence_GF / tests_G[:, None]
    between_FF = np.diag(incidence_GF.sum(axis=0)) - incidence_GF.T @ share_GF
    # Offsets are known but for a constant a component: hence a pseudo-inverse, and the centring below.
    offset_F = np.linalg.pinv(between_FF, hermitian=True) @ (fold_sum_F - share_GF.T @ person_sum_G)
    effect_G = (person_sum_G - incidence_GF @ offset_F) / tests_G
    mean_K = np.bincount(component_G, effect_G) / np.bincount(component_G)
    return np.asarray(effect_G - mean_K[component_G])


def _deviations(values_M: Floats, fold_M: NDArray[np.intp]) -> Floats:
    """Standard deviation in each fold (F,)."""
    count_F = np.bincount(fold_M)
    centred_M = values_M - (np.bincount(fold_M, values_M) / count_F)[fold_M]
    return np.sqrt(np.bincount(fold_M, centred_M**2) / count_F)


def _spreads(score_M: Floats, fold_M: NDArray[np.intp], *, only: NDArray[np.bool_]) -> Floats:
    """What to divide scores of folds that stand alone by: their own deviation."""
    deviation_F = _deviations(score_M, fold_M)
    largest = max(1.0, float(np.abs(score_M).max()))
    return np.where(only & (deviation_F > FLAT * largest), deviation_F, 1.0)


def _scales(
    score_M: Floats, effect_M: Floats, fold_M: NDArray[np.intp], alone_F: NDArray[np.bool_]
) -> Floats:
    """How much further apart a fold puts the people whom it tested than the others put them (F,)."""
    score_F, effect_F = _deviations(score_M, fold_M), _deviations(effect_M, fold_M)
    floor = FLAT * max(1.0, float(np.abs(score_M).max()))
    usable_F = ~alone_F & (score_F > floor) & (effect_F > floor)
    scale_F = np.ones(len(score_F))
    scale_F[usable_F] = score_F[usable_F] / effect_F[usable_F]
    if usable_F.any():
        scale_F[usable_F] /= np.exp(np.log(scale_F[usable_F]).mean())
    return scale_F
