"""Doctor finds out on a real mount that the server is asked."""

from chunkstore.maintenance.doctor.examination import examine


def test_on_nfs_as_it_is_mounted_by_default_every_promise_holds(folders):
    report = examine(str(folders[1]))
    results = {check.name: check.result for check in report.checks}
    assert (results["fresh-look"], results["server-lock"]) == ("good", "good")
    assert {each.result for each in report.guarantees} == {"good"}
    assert report.holds
