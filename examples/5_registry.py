import marimo

app = marimo.App()


@app.cell
def _():
    import marimo as mo

    mo.md(
        """
        # 5. Results and the model registry

        MLflow has recorded every run. The best run's model is registered as a version of `signs` and gets the alias
        `champion`, by which any program can load it.
        """
    )
    return


@app.cell
def _():
    import register

    register.runs()[["tags.mlflow.runName", "metrics.accuracy", "metrics.loss"]]
    return (register,)


@app.cell
def _(register):
    uri = register.register()
    return (uri,)


@app.cell
def _(register, uri):
    register.check(uri)
    return


if __name__ == "__main__":
    app.run()
