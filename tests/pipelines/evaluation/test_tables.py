"""Tables of results: what a spreadsheet makes of them, and which rows are the best for their cost."""

import io
import math

import pandas as pd

from pipelines.evaluation.tables import csv_text, pareto_front


def test_names_that_spreadsheets_would_compute_stay_names():
    names = ["=1+1", "+2", "-rf", "@SUM(A1)", "\tx", 'quoted "name"', "two\nlines", "1e3"]
    read = pd.read_csv(io.StringIO(csv_text(pd.DataFrame({"run": names, "loss": -1.5}))), dtype={"run": str})
    assert read["run"].tolist() == ["'=1+1", "'+2", "'-rf", "'@SUM(A1)", "'\tx", *names[5:]]
    assert (read["loss"] == -1.5).all()


def test_the_pareto_front():
    table = pd.DataFrame({"cost": [5, 1, 3, 2, 3, math.nan], "figure": [1.0, 9.0, 4.0, 9.5, 3.0, 0.0]})
    front = pareto_front(table, "cost", "figure")
    assert front[["cost", "figure"]].to_numpy().tolist() == [[1, 9], [3, 3], [5, 1]]
