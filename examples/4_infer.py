import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md(
        """
        # 4. Recognize many clips with Ray Data

        The model of notebook 2 recognizes the sign in each clip, in batches, on as many workers as you ask for.
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
    import infer

    table = ray.get(ray.remote(num_cpus=0)(infer.run).remote(name="notebook"))
    table[["clip", "sign", "named", "certainty"]]
    return (table,)


@app.cell
def _(table):
    (table.sign == table.named).mean()
    return


if __name__ == "__main__":
    app.run()
