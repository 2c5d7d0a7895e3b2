import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md(
        """
        # 1. Hello, cluster

        A notebook runs beside the cluster: `ray.init()` connects to it, and functions with `@ray.remote` run on its
        nodes. Those used here are in `hello.py`, which `ray job submit` can run as well. You may edit both files.
        """
    )
    return (mo,)


@app.cell
def _(mo):
    import ray

    # Tasks import their modules from this folder, which is sent to the nodes.
    ray.init(runtime_env={"working_dir": str(mo.notebook_dir())}, ignore_reinit_error=True)
    return (ray,)


@app.cell
def _(ray):
    import hello

    hello.nodes() if ray.is_initialized() else []
    return (hello,)


@app.cell
def _(hello):
    print(*hello.run(4), sep="\n")
    return


if __name__ == "__main__":
    app.run()
