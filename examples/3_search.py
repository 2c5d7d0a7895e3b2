import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md(
        """
        # 3. Search with Ray Tune

        Four trials, each with its own learning rate and hidden size, as many at once as there are CPUs. An interrupted
        search continues when you run the cell again.
        """
    )
    return (mo,)


@app.cell
def _(mo):
    import ray

    ray.init(runtime_env={"working_dir": str(mo.notebook_dir())}, ignore_reinit_error=True)
    return (ray,)


@app.cell
def _(ray):
    import search

    @ray.remote(num_cpus=0)
    def searched(**options):
        return search.run(**options).get_dataframe()

    table = ray.get(searched.remote(name="notebook-search", trials=4, epochs=5))
    table[["loss", "accuracy", "config/rate", "config/hidden"]].sort_values("loss")
    return


if __name__ == "__main__":
    app.run()
