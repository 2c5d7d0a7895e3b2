import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md(
        """
        # 2. Train on poses

        A clip becomes poses, poses become a graph, and a small graph network learns three signs. Each epoch is tracked
        in MLflow and saved as a checkpoint, from which the run continues if a worker dies. If you run the training cell
        again with the same name, nothing is left to do. Another name starts another run.
        """
    )
    return (mo,)


@app.cell
def _(mo):
    import ray

    ray.init(runtime_env={"working_dir": str(mo.notebook_dir())}, ignore_reinit_error=True)
    return (ray,)


@app.cell
def _():
    from matplotlib import pyplot

    import signs

    row = signs.clips("train")[0]
    drawn, axes = pyplot.subplots(figsize=(3, 3))
    for path in signs.poses(signs.DATA / row["clip"]).transpose(1, 0, 2):
        axes.plot(path[:, 0], -path[:, 1], ".-")
    axes.set_title(f"{row['sign']}: the path of each joint")
    drawn
    return (signs,)


@app.cell
def _(signs):
    signs.graph(signs.clips("train")[0])
    return


@app.cell
def _(ray):
    import train_signs

    # The driver of the training runs on the cluster too.
    result = ray.get(ray.remote(num_cpus=0)(train_signs.run).remote(name="notebook", epochs=8))
    result.metrics
    return (result,)


@app.cell
def _(result):
    result.checkpoint
    return


if __name__ == "__main__":
    app.run()
