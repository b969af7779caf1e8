"""A run in several processes: the same losses and weights as in one, and an end for all of them."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.conftest import ROOT, asking, load_plain, write_images
from tests.trainer.other_processes import write_fingerprint
from trainer.commands import train
from trainer.config import ConfigError
from trainer.runs import RunError, read_events, read_status, request
from trainer.training import group as group_module
from trainer.training import loop, processes
from trainer.training import step as step_module
from trainer.training.attach import attach_file
from trainer.training.group import DIFFERENT, ProcessGroup
from trainer.training.loop import read_batches
from trainer.training.processes import FirstProcess, choose_devices, divide_images, plan_processes
from trainer.training.session import open_session
from trainer.training.step import _accumulate

CPU = torch.device("cpu")
OTHERS = "tests.trainer.other_processes:"


def events_of(run, kind):
    return [event for event in read_events(run.events_path) if event["event"] == kind]


def other_children():
    """Returns the processes that this one has started for a run."""
    every = psutil.Process().children(recursive=True)
    return [each for each in every if "spawn_main" in " ".join(each.cmdline())]


@pytest.fixture
def losses(monkeypatch):
    """The losses of each run by its folder, without the rounding of its events."""
    found, real = {}, loop._report_step

    def report(session, loss, *rest):
        found.setdefault(session.run.id, []).append(loss)
        real(session, loss, *rest)

    monkeypatch.setattr(loop, "_report_step", report)
    return found


@pytest.fixture
def gradient_norms(monkeypatch):
    """The norm of each update's gradients, which most optimisers do not depend on."""
    found, real = {}, step_module._compute_within_memory

    def compute(session, pairs):
        mean = real(session, pairs)
        gradients = [p.grad for p in session.adapters.named_parameters().values()]
        norm = torch.nn.utils.get_total_norm([each for each in gradients if each is not None])
        found.setdefault(session.run.id, []).append(norm.item())
        return mean

    monkeypatch.setattr(step_module, "_compute_within_memory", compute)
    return found


@pytest.fixture
def have_others(monkeypatch):
    """Replaces what the other processes do by a function of `other_processes`."""
    return lambda name: monkeypatch.setattr(processes, "_COMPUTE", OTHERS + name)


def largest_delta_difference(pico, *runs):
    family = load_plain(pico)
    deltas = []
    for run in runs:
        adapters = attach_file(family, run.path / "pico.safetensors", CPU)
        deltas.append({name: delta.clone() for name, delta in adapters.deltas().items()})
        adapters.remove()
    first, second = deltas
    assert first.keys() == second.keys()
    assert max(float(delta.abs().max()) for delta in first.values()) > 1e-4
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.mark.parametrize(
    ("count", "steps"),
    [(2, 6), *(pytest.param(count, 50, marks=pytest.mark.slow) for count in (2, 3))],
)
def test_several_processes_train_what_one_does(
    make_run, cache, pico, losses, gradient_norms, have_others, monkeypatch, count, steps
):
    words = (f"train.steps={steps}", "train.batch_size=5", "output.checkpoint_every_steps=0")
    one = make_run(*words, "train.processes=1", folder="one")
    assert train(one, cache) == "finished"
    have_others("record")
    real = loop.take_step

    def take_and_record(session, batches):
        loss = real(session, batches)
        write_fingerprint(session)
        return loss

    monkeypatch.setattr(loop, "take_step", take_and_record)
    several = make_run(*words, f"train.processes={count}", folder="several")
    losses_of_one, norms_of_one = losses.pop(one.id), gradient_norms.pop(one.id)
    assert train(several, cache) == "finished"
    assert len(losses_of_one) == steps
    assert losses[several.id] == pytest.approx(losses_of_one, abs=1e-6, rel=0)
    assert gradient_norms[several.id] == pytest.approx(norms_of_one, rel=1e-3)
    assert largest_delta_difference(pico, one, several) < 1e-5
    assert events_of(several, "data")[-1]["processes"] == count
    # The weights of all processes were equal, bit by bit, after every step.
    prints = [
        (several.path / f"fingerprints-{index}.txt").read_text().splitlines()
        for index in range(count)
    ]
    assert len(prints[0]) == len(set(prints[0])) == steps
    assert all(each == prints[0] for each in prints)
    # The others wrote events and a log of their own, and nothing into the first one's.
    assert [e["from_step"] for e in events_of(several, "started")] == [0]
    assert (several.path / "events-2.jsonl").is_file()
    assert (several.path / "log-2.txt").is_file()
    assert other_children() == []


SHARES = [
    ("train.batch_size=3", "train.accumulate=2"),
    ("train.batch_size=1", "train.accumulate=3", "mixed"),
    ("train.batch_size=4", "train.micro_batch=1", "train.accumulate=2"),
    ("train.batch_size=3", "adapter.kind=adalora", "train.accumulate=2"),
    ("train.batch_size=3", "objective.prior=teacher"),
    ("train.batch_size=3", "images", "train.micro_batch=1"),
    ("train.batch_size=2",),
]


@pytest.mark.parametrize("words", SHARES, ids=" ".join)
def test_shares_add_up_to_the_gradient_and_the_loss_of_the_whole(words, make_run, cache, tmp_path):
    """Three processes, one after the other: the sum of what they compute is the update's."""
    given_words = [each for each in words if "=" in each]
    if "images" in words:
        folder = write_images(tmp_path / "class", [(32, 32)] * 5, seed=9)
        given_words += ["objective.prior=images", f'dataset.prior_path="{folder}"']
    if "mixed" in words:
        folder = write_images(tmp_path / "mixed", [(32, 32), (48, 24), (24, 48), (40, 32)])
        given_words.append(f'dataset.path="{folder}"')
    session = open_session(make_run(*given_words), cache)
    parameters = session.adapters.named_parameters()
    batches = read_batches(session)
    pairs = [next(batches) for _ in range(session.config.train.accumulate)]
    with torch.no_grad():
        for value in parameters.values():
            value.add_(0.01)  # so that every weight matters, whatever starts at zero

    def compute(group):
        session.group = group
        mean = torch.zeros(())
        session.optimizer.zero_grad(set_to_none=True)
        _accumulate(session, pairs, mean)
        gradients = {n: p.grad.clone() for n, p in parameters.items() if p.grad is not None}
        return mean, gradients

    loss, whole = compute(ProcessGroup())
    parts = [compute(ProcessGroup(index, 3)) for index in range(3)]
    assert sum(part[0] for part in parts).item() == pytest.approx(loss.item(), rel=1e-5)
    assert len(whole) > 100
    for name, gradient in whole.items():
        total = sum(part[1].get(name, torch.zeros(())) for part in parts)
        torch.testing.assert_close(total, gradient, rtol=1e-3, atol=1e-6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 9))
def test_every_example_of_an_update_is_dealt_out_once(sizes, count):
    shares = [ProcessGroup(index, count).deal(sizes) for index in range(count)]
    for place, size in enumerate(sizes):
        spans = [share[place] for share in shares]
        assert [i for first, last in spans for i in range(first, last)] == list(range(size))
    numbers = [sum(last - first for first, last in share) for share in shares]
    assert max(numbers) - min(numbers) <= 1
    assert numbers[0] == max(numbers) == ProcessGroup(0, count).count_largest_share(sum(sizes))


@pytest.mark.slow
def test_process_without_an_image_adds_nothing(make_run, cache, pico, losses, monkeypatch):
    words = ("train.batch_size=2", "optimizer.unet_learning_rate=0.01")
    one = make_run(*words, "train.processes=1", folder="one")
    assert train(one, cache) == "finished"
    expected = losses.pop(one.id)
    monkeypatch.setattr(processes, "_count_images", lambda _config: 3)
    several = make_run(*words, "train.processes=3", folder="several")
    assert train(several, cache) == "finished"
    assert events_of(several, "data")[-1]["processes"] == 3
    assert losses[several.id] == pytest.approx(expected, abs=1e-6, rel=0)
    assert largest_delta_difference(pico, one, several) < 1e-5


def test_killed_process_ends_the_run_which_goes_on_with_any_number(
    make_run, cache, pico, losses, have_others
):
    words = ("train.steps=8", "train.batch_size=3", "output.checkpoint_every_steps=2")
    whole = make_run(*words, "train.processes=1", folder="whole")
    assert train(whole, cache) == "finished"
    expected = losses.pop(whole.id)
    have_others("die")
    killed = make_run(*words, "train.processes=2", folder="killed")
    with pytest.raises(RunError, match=r"Process 2 of the 2 .* was ended by SIGKILL.*Resume"):
        train(killed, cache)
    status = read_status(killed.path)
    assert (status.state, status.can_start) == ("failed", True)
    assert "log-2.txt" in status.message
    assert [each.step for each in killed.list_checkpoints()] == [2]
    assert other_children() == []
    losses.clear()
    with asking(killed, {5: ["stop"]}):
        assert train(killed, cache, processes=3) == "stopped"
    assert killed.config.train.processes == 3
    assert train(killed, cache, processes=1) == "finished"
    assert losses[killed.id] == pytest.approx(expected[2:], abs=1e-6, rel=0)
    assert largest_delta_difference(pico, whole, killed) < 1e-5


@pytest.mark.slow
def test_requests_are_obeyed_and_a_stop_ends_all_processes(make_run, cache):
    run = make_run("train.steps=9", "train.processes=2", "samples.every_steps=100")
    paused, listening = [], set()

    def resume_when_paused():
        deadline = time.monotonic() + 120
        while read_status(run.path).state != "paused" and time.monotonic() < deadline:
            time.sleep(0.05)
        paused.append(read_status(run.path).state)
        connections = psutil.Process().net_connections(kind="tcp")
        listening.update(c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN)
        request(run.path, "resume")

    thread = threading.Thread(target=resume_when_paused)
    with asking(run, {1: ["sample", "save"], 2: ["pause"], 5: ["stop"]}):
        thread.start()
        assert train(run, cache) == "stopped"
    thread.join()
    assert paused == ["paused"]
    assert listening == {"127.0.0.1"}  # nobody else can connect
    assert 1 in {event["step"] for event in events_of(run, "sample")}
    assert (run.path / "pico-000001.safetensors").is_file()
    assert read_status(run.path).step == 5
    assert other_children() == []


@pytest.mark.slow
def test_process_that_hangs_is_given_up(make_run, cache, have_others, monkeypatch):
    monkeypatch.setattr(group_module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(group_module, "_PATIENCE_TIMES", 0.0)
    have_others("hang")
    run = make_run("train.processes=2")
    with pytest.raises(RunError, match=r"Process 2 of the 2 .* does not answer"):
        train(run, cache)
    assert other_children() == []


@pytest.mark.slow
def test_memory_that_one_process_lacks_is_saved_in_all(make_run, cache, have_others):
    run = make_run("train.processes=2", "train.batch_size=4")
    have_others("run_out")
    assert train(run, cache) == "finished"
    assert run.config.train.micro_batch == 1
    (warning,) = [e for e in events_of(run, "warning") if "memory" in e["message"]]
    assert "at step 2" in warning["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [("start_elsewhere", DIFFERENT[:40]), ("fail", r"exit code 2: The sky is blue\. Resume")],
)
def test_process_that_cannot_begin_ends_the_run(make_run, cache, have_others, name, message):
    have_others(name)
    with pytest.raises(RunError, match=message):
        train(make_run("train.processes=2"), cache)
    assert other_children() == []


@pytest.mark.slow
def test_run_that_diverges_goes_on_in_several_processes(make_run, cache, monkeypatch):
    real, spoiled = loop.take_step, []

    def take_and_spoil(session, batches):
        loss = real(session, batches)
        if session.state.step == 3 and not spoiled:
            spoiled.append(session)
            return loss * float("nan")
        return loss

    monkeypatch.setattr(loop, "take_step", take_and_spoil)
    run = make_run("train.processes=2")
    assert train(run, cache) == "finished"
    assert [e["from_step"] for e in events_of(run, "diverged")] == [2]
    assert [e["processes"] for e in events_of(run, "data")] == [2, 2]


def test_no_process_is_left_when_the_first_one_is_killed(make_run, cache):
    run = make_run("train.steps=100000", "train.processes=3", "train.batch_size=3")
    command = [sys.executable, "-m", "app.cli", "train", str(run.path)]
    first = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        while not events_of(run, "step"):
            assert first.poll() is None
            time.sleep(0.1)
        others = psutil.Process(first.pid).children(recursive=True)
        assert len([e for e in others if "spawn_main" in " ".join(e.cmdline())]) == 2
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert psutil.wait_procs(others, timeout=60)[1] == []
    assert read_status(run.path).state == "lost"


def test_cores_are_shared_while_a_step_is_computed_and_not_beside_it():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        group = ProcessGroup(0, 2, threads=1)
        with group.sharing_cores():
            assert torch.get_num_threads() == 1
            with group.using_all_cores():
                assert torch.get_num_threads() == 3
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
        assert FirstProcess([], 2, Path()).threads == 1
        assert FirstProcess([], 8, Path()).threads == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("images", "most", "count"),
    [(8, 2, 2), (8, 16, 8), (4, 3, 2), (5, 3, 3), (1, 8, 1), (7, 4, 4), (9, 4, 3), (3, 2, 2)],
)
def test_no_more_processes_than_make_the_largest_share_smaller(images, most, count):
    assert divide_images(images, most) == count


@pytest.fixture
def cores(monkeypatch):
    def have(count, gigabytes=64):
        monkeypatch.setattr(processes, "_count_cores", lambda: count)
        memory = psutil.virtual_memory()._replace(available=int(gigabytes * 1e9))
        monkeypatch.setattr(processes.psutil, "virtual_memory", lambda: memory)

    return have


@pytest.mark.parametrize(
    ("count", "gigabytes", "words", "expected"),
    [
        (4, 64, ["train.batch_size=4"], 4),
        (4, 64, ["train.batch_size=1"], 1),
        (4, 64, ["train.batch_size=1", "train.accumulate=3"], 3),
        (1, 64, ["train.batch_size=4"], 1),
        (4, 3.1, ["train.batch_size=4"], 2),
        (4, 0.4, ["train.batch_size=4"], 1),
        (4, 64, ["train.batch_size=4", "train.processes=3"], 3),
        (4, 64, ["train.batch_size=2", "train.processes=3"], 2),
    ],
)
def test_number_is_chosen_once_and_stands_in_the_settings(
    count, gigabytes, words, expected, make_run, cores
):
    cores(count, gigabytes)
    run = make_run(*words)
    assert plan_processes(run) == expected
    assert run.config.train.processes == (3 if "train.processes=3" in words else expected)
    cores(1)  # a resume on another computer
    assert plan_processes(run) == expected


def test_large_base_model_takes_one_process(make_run, cores, monkeypatch):
    cores(4)
    monkeypatch.setattr(processes, "SMALL_UNET_BYTES", 1000)
    assert plan_processes(make_run("train.batch_size=4")) == 1


def test_one_thread_means_one_process(make_run, monkeypatch):
    monkeypatch.setattr(processes.torch, "get_num_threads", lambda: 1)
    assert plan_processes(make_run("train.batch_size=4")) == 1


def test_gpus_take_one_process_each(make_run, monkeypatch):
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    assert plan_processes(make_run("train.device=cuda", "train.batch_size=4")) == 1
    words = ("train.processes=3", "train.batch_size=4")
    run = make_run("train.device=cuda", *words)
    assert plan_processes(run) == 2
    assert "of which this computer can run 2" in events_of(run, "warning")[-1]["message"]
    assert plan_processes(make_run("train.device=cuda:1", *words)) == 1
    assert plan_processes(make_run("train.device=mps", *words)) == 1


def test_numbers_out_of_bounds_are_refused(make_run):
    run = make_run()
    for number in (-1, 65):
        with pytest.raises(ConfigError, match=r"train\.processes"):
            plan_processes(run, number)


def test_devices_are_checked_before_a_run_is_created(make_run, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    config = make_run("train.device=cuda").config
    assert choose_devices("3, 1", config) == 2
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,1"
    for text, count, message in (
        ("0,0", 0, "different CUDA devices"),
        ("cuda:0", 0, "Give the numbers"),
        ("0,1", 3, "names 2 devices, but --processes is 3"),
        ("0,1,2", 0, "PyTorch sees 2"),
    ):
        with pytest.raises(RunError, match=message):
            choose_devices(text, config, count)
    with pytest.raises(RunError, match=r"train\.device is cpu"):
        choose_devices("0,1", make_run().config)
