"""Rows that a report shows: of tasks as they are defined now, with the titles that they have now."""

from __future__ import annotations

from ethogram.bench import applicable, every_method, every_task, rows_of_tasks


def test_rows_have_the_titles_that_their_task_and_method_have_now() -> None:
    tasks, methods = every_task(), every_method()
    task = tasks["others-p0-stevens"]
    method = next(method for method in methods.values() if applicable(task, method))
    row = {"task": task.name, "method": method.name, "task_digest": task.digest, "title": "Encoders", "value": 0.5}
    other = {"task": "own-task", "method": "m", "task_digest": "0", "title": "Own"}
    shown = rows_of_tasks([row, {**row, "task_digest": "earlier"}, other], tasks, methods)
    assert shown == [{**row, "title": task.title, "method_title": method.title}, other]
