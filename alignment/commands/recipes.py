"""`python -m alignment recipes`: what `--recipe` can name."""


def recipes() -> None:
    """List the recipes: each is a model and complete settings of PPO, SFT and DPO for it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from alignment.recipe_book.registry import ALIASES, RECIPES

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("model", no_wrap=True)
    table.add_column("licence", overflow="fold")
    table.add_column("r", justify="right")
    for make in RECIPES.values():
        recipe = make()
        others = [alias for alias, name in ALIASES.items() if name == recipe.name]
        table.add_row(
            "\n".join([recipe.name, *others]),
            recipe.model or "assembled from packages",
            recipe.licence,
            str(recipe.ppo.policy.policy.r),
        )
    Console().print(table)
