import pytest
from plugins.workbench import OURS, OWN, comparable, order_of_steps

@pytest.mark.parametrize("p", ["python_tasks","shell_tasks","on_failure","failing_task","conditional","loop_until","parallel_tasks","failing_branch","nested_parallel","map_items","map_reduced","map_reduced_by_function","map_in_parallel","map_in_map","parallel_in_map","catalog_files","good_job","data_job","bad_job", "notebook_tasks"])
def test_x(workbench, p):
    par = {"items": ["a", "b", "c"], "others": [1, 2], "count": 0}
    exp = workbench.run(p, OWN, parallel=False, parameters=par)
    found = workbench.run(p, OURS, parameters=par)
    assert comparable(found) == comparable(exp)
    print(order_of_steps(found.steps))
    assert order_of_steps(found.steps) == order_of_steps(exp.steps)
