"""Blocks of SQL: what is read has the shape that the handbook expects, and no repair does harm."""

import subprocess

from checks import block
from house import wait_until


def sums(house, where="true"):
    """What users have and have used, together: calls don't change it."""
    return int(house.value(f"SELECT sum(quota + used_quota) FROM users WHERE {where}"))


def settled(house):
    """Waits until no call is under way: only tasks have open holds."""
    count = "SELECT count(*) FROM holds h" \
            " WHERE NOT EXISTS (SELECT 1 FROM tasks t WHERE t.uid = h.id)"
    wait_until(lambda: house.value(count) == "0", "the end of all calls")


@block("问题：同步请求超时", 4)
def connections(run):
    counts = run().ok().has("duration").rows()
    assert counts[0] == 1 and len(counts) == 2, counts


@block("问题：预扣费失败")
def balance(run):
    ran = run().ok().has(r"id +\| +quota +\| +used_quota +\| +available", "blocked_pid")
    account, journal, blocked = ran.rows()
    assert account == 1 and journal >= 2 and blocked == 0, ran.text


@block("问题：预扣费失败", 2)
def retry(run):
    ran = run().ok().has(r"^200 after [1-9]\d*\.")
    assert float(ran.text.split()[2]) < 6, ran.text


@block("问题：预扣费失败", 3)
def nowait(run):
    assert run().ok().has(r"ann").rows() == [1]
    lock = f"BEGIN; SELECT 1 FROM users WHERE id = {run.house.user_id} FOR UPDATE;\n"
    psql = subprocess.Popen(["psql", "-XAtq"], env=run.house.environment, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    psql.stdin.write(lock)
    psql.stdin.flush()
    assert psql.stdout.readline() == "1\n"
    run().has("could not obtain lock on row")
    psql.communicate("ROLLBACK;\n", timeout=10)


@block("问题：任务提交成功但状态不更新")
def task_states(run):
    house = run.house
    # One that nobody has heard of for a while.
    house.sql("UPDATE tasks SET updated_at = now() - interval '6 minutes'"
              " WHERE status = 'submitted'")
    counted = [rf"^ {status} +\| +{count}$" for status, count in house.statuses().items()]
    ran = run().ok().has(*counted, r"custompass: polling_tasks ", "00:06:0")
    groups, stale = ran.rows()
    assert groups == 5 and stale >= 1, ran.text


@block("问题：计费金额不正确")
def prices(run):
    journal, abilities, group = run().ok().has("gpt-4", r"fixed_quota", r"vip +\| +0\.8").rows()
    assert journal >= 2 and abilities == 4 and group == 1, (journal, abilities, group)


@block("问题：计费金额不正确", 2)
def price_is_live(run):
    house = run.house
    run().ok().has("^INSERT 0 1$")

    def cost():
        before = int(house.value(f"SELECT used_quota FROM users WHERE id = {house.user_id}"))
        assert house.call() == 200
        return int(house.value(f"SELECT used_quota FROM users WHERE id = {house.user_id}")) - before

    # 80 tokens × 1.5 × 0.8 of the group.
    wait_until(lambda: cost() == 96, "the new price", seconds=1)


@block("问题：计费金额不正确", 3)
def adjustment(run):
    house = run.house
    mine = f"id = {house.user_id}"
    settled(house)
    before = sums(house), sums(house, mine)
    lines = f"SELECT count(*) FROM logs WHERE user_id = {house.user_id} AND type = 'adjust'" \
            " AND delta = 500 AND used_delta = -500"
    entered = int(house.value(lines))
    with house.load():
        run().ok().has("^UPDATE 1$")
    settled(house)
    # It goes from used to unused, so that their sum stays, whatever the calls did meanwhile.
    assert (sums(house), sums(house, mine)) == before
    assert int(house.value(lines)) == entered + 1
    house.audit_clean()


@block("问题：预扣费没有退还")
def refunds(run):
    house = run.house
    missing, lines = run().ok().has("should_refund").rows()
    assert missing == 0, "a finished task keeps what it did not use"
    assert lines == int(house.value("SELECT count(*) FROM logs WHERE type = 'refund'")), lines
    # The task that failed was given back.
    assert lines >= 1


@block("问题：预扣费没有退还", 2)
def batch_refund(run):
    house = run.house
    assert house.statuses()["completed"] >= 1
    settled(house)
    before = sums(house)
    adjusted = house.value("SELECT count(*) FROM logs WHERE type = 'adjust'")
    with house.load():
        run().ok().has("^UPDATE 0$")
    settled(house)
    assert sums(house) == before
    assert house.value("SELECT count(*) FROM logs WHERE type = 'adjust'") == adjusted
    house.audit_clean()


@block("问题：响应时间过长", 2)
def index(run):
    run().ok().has("already exists, skipping", "^ANALYZE$").lacks("ERROR")
    shape = run.house.value("SELECT indexdef FROM pg_indexes"
                            " WHERE indexname = 'idx_tasks_custompass_performance'")
    assert "(platform, status, updated_at) WHERE (platform = 'custompass'::text)" in shape, shape
