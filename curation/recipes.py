"""Training corpora as recipes: which origins a training set is made of.

The names are those of protocol 1 (Randellini et al. 2022): ``geometric`` is its OL, ``gan`` its Q.
"""

import pandas as pd

RECIPES: dict[str, tuple[str, ...]] = {
    "original": ("real",),
    "geometric": ("real", "geometric"),
    "gan": ("real", "geometric", "gan"),
    "synthetic": ("gan",),
}


def chosen(facts: pd.DataFrame, recipe: str) -> pd.Series:
    """Return one boolean a row: is it a training picture of this recipe?

    Args:
        facts: Columns ``split``, ``origin`` and ``keep`` of a corpus (`Corpus.facts`).
        recipe: A name of `RECIPES`.

    Raises:
        ValueError: If the recipe is unknown.
    """
    if recipe not in RECIPES:
        raise ValueError(f"recipe {recipe!r} is unknown; it is one of {', '.join(RECIPES)}")
    # keep is null for rows that no gate has judged: real faces and their geometric copies
    kept = facts["keep"].fillna(True).astype(bool)
    return (facts["split"] == "train") & facts["origin"].isin(RECIPES[recipe]) & kept
