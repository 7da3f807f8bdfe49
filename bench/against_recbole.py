#!/usr/bin/env python3
"""Accuracy and seconds per epoch of Refrain and of RecBole on the same sequences.

Called by against_recbole.sh. --data is a file of lines "user item item ...", in time order. Both sides hold out each user's last
item for the test and the item before it for validation, read the newest --length items of a history, train with softmax over
all items and with all threads, and take turns, each run in a process of its own. A run appends one JSON line to --json.

--stopping own: each side trains until its own rule ends the training (RecBole: ten epochs without a better MRR@10 of the
validation part; Refrain: the defaults of cmnrec) or for --epochs. --stopping equal: both sides train --epochs. The weights of
the best epoch on the validation part count.

Both sides write the rank of each test item among all items, once with all items and once without those of the history, as
--ranks of the programs does. The metrics come from these ranks by one function, gain() of bootstrap.py. RecBole's own figures
are in "peer_figures".

RecBole trains one example per prefix of a training sequence: its batch is a number of prefixes. Refrain trains all prefixes of
a sequence at once: its batch is a number of sequences. "nextitnet-left" is RecBole's NextItNet with the padding before the
items. RecBole itself puts it behind them and reads the last time step, so that its network may not reach the items of a short
history.
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bootstrap  # noqa: E402

METRICS = ("HR@10", "NDCG@10", "MRR@10")
MODELS = {"gru4rec": "GRU4Rec", "nextitnet": "NextItNet", "nextitnet-left": "NextItNet, padded on the left"}
FULL, UNSEEN = "full", "full, seen ones left out"


class InputError(Exception):
    pass


def read_sequences(path):
    """[(user, [item, ...])] of a file of lines "user item item ..."."""
    sequences, users = [], set()
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            user, *items = line.split() or [""]
            if len(items) < 3:
                raise InputError(f"{path}, line {number}: expected a user and at least three items, got {len(items)} items")
            if user in users:
                raise InputError(f"{path}, line {number}: the user {user} has an earlier line")
            users.add(user)
            sequences.append((user, items))
    if not sequences:
        raise InputError(f"{path}: expected sequences, got none")
    return sequences


def write_atomic(sequences, folder, name):
    """RecBole's atomic file folder/name/name.inter; the position in the sequence is the timestamp."""
    target = pathlib.Path(folder) / name / f"{name}.inter"
    target.parent.mkdir(parents=True)
    with open(target, "w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        for user, items in sequences:
            file.writelines(f"{user}\t{item}\t{place}\n" for place, item in enumerate(items))


def ranks_of(scores, targets, excluded):
    """(rank, ties) of each row's target among the items that are not excluded.

    scores [B,items]; targets [B]; excluded: for each row the ids that are not ranked, except its target.
    """
    import numpy as np

    rows = np.arange(len(targets))
    at_target = scores[rows, targets].copy()
    if not np.isfinite(at_target).all():
        raise ValueError("expected finite scores of the targets")
    ranked = scores.copy()
    for row, ids in enumerate(excluded):
        ranked[row, ids] = -np.inf
    ranked[rows, targets] = at_target
    above = (ranked > at_target[:, None]).sum(axis=1)
    equal = (ranked == at_target[:, None]).sum(axis=1)
    return [(int(a) + 1, int(e) - 1) for a, e in zip(above, equal)]


def figures_of(ranks):
    """The metrics of [(rank, ties), ...]."""
    return {metric: math.fsum(bootstrap.gain(metric, *each) for each in ranks) / len(ranks) for metric in METRICS}


# RecBole ---------------------------------------------------------------------------------------------------------------------


def recbole_config(model, folder, name, options):
    """RecBole's configuration: its defaults but for the settings that both sides share."""
    from recbole.config import Config

    settings = {
        "data_path": str(folder),
        "checkpoint_dir": str(pathlib.Path(folder) / "checkpoints"),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"},
        "repeatable": True,
        "train_neg_sample_args": None,
        "loss_type": "CE",
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": [10],
        "metric_decimal_place": 8,
        "MAX_ITEM_LIST_LENGTH": options.length,
        "embedding_size": options.embedding,
        "hidden_size": options.hidden,
        "dropout_prob": options.dropout,
        "block_num": 1,
        "dilations": options.dilations,
        "learning_rate": options.learning_rate,
        "train_batch_size": options.peer_batch,
        "epochs": options.epochs,
        "use_gpu": False,
        "show_progress": False,
        "state": "ERROR",
        "seed": options.seed,
        "reproducibility": False,
    }
    if options.stopping == "equal":
        settings["stopping_step"] = options.epochs
    arguments, sys.argv = sys.argv, sys.argv[:1]  # Config reads the command line
    try:
        return Config(model=MODELS[model].partition(",")[0], dataset=name, config_dict=settings)
    finally:
        sys.argv = arguments


def recbole_model(model, config, dataset):
    import torch
    from recbole.model.sequential_recommender import GRU4Rec, NextItNet

    class PaddedOnTheLeft(NextItNet):
        def forward(self, item_seq):
            steps = torch.arange(item_seq.shape[1], device=item_seq.device)
            source = steps - (item_seq == 0).sum(1, keepdim=True)
            moved = item_seq.gather(1, source.clamp(min=0))
            return super().forward(moved.masked_fill(source < 0, 0))

    return {"gru4rec": GRU4Rec, "nextitnet": NextItNet, "nextitnet-left": PaddedOnTheLeft}[model](config, dataset)


def timed_trainer(config, network):
    """RecBole's trainer, which also keeps the seconds of each epoch."""
    from recbole.trainer import Trainer

    class TimedTrainer(Trainer):
        def __init__(self):
            super().__init__(config, network)
            self.training, self.validation, self.scores = [], [], []

        def _train_epoch(self, *arguments, **named):
            begin = time.perf_counter()
            loss = super()._train_epoch(*arguments, **named)
            self.training.append(time.perf_counter() - begin)
            return loss

        def _valid_epoch(self, *arguments, **named):
            begin = time.perf_counter()
            score, result = super()._valid_epoch(*arguments, **named)
            self.validation.append(time.perf_counter() - begin)
            self.scores.append(score)
            print(f"  epoch {len(self.training)}: {self.training[-1]:.2f} s, validation {self.validation[-1]:.2f} s, "
                  f"MRR@10 {score:.4f}", file=sys.stderr, flush=True)
            return score, result

    return TimedTrainer()


def recbole_ranks(network, test_data, dataset, sequences):
    """Protocol -> [(user, rank, ties)] by full_sort_predict, in the order of the test part."""
    import numpy as np
    import torch

    item_ids = dataset.field2token_id["item_id"]
    seen = {user: [item_ids[item] for item in items[:-1]] for user, items in sequences}
    users = dataset.field2id_token["user_id"]
    ranks = {FULL: [], UNSEEN: []}
    network.eval()
    for interaction, _, _, targets in test_data:
        with torch.no_grad():
            scores = network.full_sort_predict(interaction).view(len(targets), -1).numpy()
        of_rows = [users[row] for row in interaction["user_id"].tolist()]
        targets = np.asarray(targets)
        padding = [[0]] * len(targets)
        for protocol, excluded in ((FULL, padding), (UNSEEN, [[0, *seen[user]] for user in of_rows])):
            ranks[protocol] += [(user, *each) for user, each in zip(of_rows, ranks_of(scores, targets, excluded))]
    return ranks


def run_recbole(model, options):
    """Trains and measures RecBole's model: the fields of the JSON line, and the ranks."""
    import recbole
    import torch
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import init_seed

    torch.set_num_threads(options.threads)
    sequences = read_sequences(options.data)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_atomic(sequences, folder, "sequences")
        config = recbole_config(model, folder, "sequences", options)
        init_seed(config["seed"], config["reproducibility"])
        dataset = create_dataset(config)
        train_data, valid_data, test_data = data_preparation(config, dataset)
        network = recbole_model(model, config, train_data.dataset)
        trainer = timed_trainer(config, network)
        trainer.fit(train_data, valid_data, verbose=False, show_progress=False)
        # The checkpoint holds RecBole's configuration beside the weights; this process wrote it.
        best = torch.load(trainer.saved_model_file, map_location="cpu", weights_only=False)
        network.load_state_dict(best["state_dict"])
        own = trainer.evaluate(test_data, load_best_model=False, show_progress=False)
        ranks = recbole_ranks(network, test_data, dataset, sequences)
        if options.checkpoint:
            pathlib.Path(options.checkpoint).write_bytes(pathlib.Path(trainer.saved_model_file).read_bytes())
    return {
        "side": "RecBole",
        "version": f"RecBole {recbole.__version__}, PyTorch {torch.__version__}",
        "parameters": sum(each.numel() for each in network.parameters()),
        "batch": options.peer_batch,
        "examples_per_epoch": len(train_data.dataset),
        "steps_per_epoch": len(train_data),
        "epochs": len(trainer.training),
        "best_epoch": best["epoch"] + 1,
        "seconds_per_epoch": statistics.median(trainer.training),
        "validation_seconds": statistics.median(trainer.validation),
        "peer_figures": {"HR@10": float(own["hit@10"]), "NDCG@10": float(own["ndcg@10"]), "MRR@10": float(own["mrr@10"])},
    }, ranks


# Refrain ---------------------------------------------------------------------------------------------------------------------


def refrain_command(model, options, folder):
    command = [options.program, "train", "--kind", model.partition("-")[0], "--data", options.data, "--leave-last-out",
               "--min-length", "2", "--length", options.length, "--embedding", options.embedding, "--hidden", options.hidden,
               "--channels", options.embedding, "--dilations", ",".join(map(str, options.dilations)),
               "--learning-rate", options.learning_rate, "--batch", options.batch, "--epochs", options.epochs,
               "--threads", options.threads, "--seed", options.seed, "--force",
               "--log", folder / "log.jsonl", "--out", folder / "model.safetensors"]
    if not options.defaults:
        command += ["--tied", "--dropout", options.dropout if model == "gru4rec" else 0]
    if options.stopping == "equal":
        command += ["--patience", options.epochs]
    return [str(each) for each in command + options.ours]


def run_refrain(model, options):
    sequences = read_sequences(options.data)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        command = refrain_command(model, options, folder)
        printed = run(command)
        evaluate = [options.program, "evaluate", "--model", folder / "model.safetensors", "--data", options.data,
                    "--threads", options.threads, "--ranks", folder / "ranks.jsonl"]
        run([str(each) for each in evaluate])
        epochs = [json.loads(line) for line in open(folder / "log.jsonl", encoding="utf-8")]
        lines = [json.loads(line) for line in open(folder / "ranks.jsonl", encoding="utf-8")]
    ranks = {FULL: [], UNSEEN: []}
    for line in lines:
        if line["method"] == MODELS[model]:  # evaluate also measures baselines
            left_out = line["protocol"].endswith("left out")
            ranks[UNSEEN if left_out else FULL].append((line["user"], line["rank"], line["ties"]))
    for protocol, of_protocol in ranks.items():
        if len(of_protocol) != len(sequences):
            raise InputError(f"{options.program}: expected {len(sequences)} ranks ({protocol}), got {len(of_protocol)}")
    epochs = [epoch for epoch in epochs if "epoch" in epoch]
    best = min if epochs[0]["metric"].endswith("loss") else max
    examples = int(re.search(r"([0-9,]+) sequences to train on", printed).group(1).replace(",", ""))
    return {
        "side": "Refrain",
        "parameters": int(re.search(r": ([0-9,]+) parameters", printed).group(1).replace(",", "")),
        "batch": options.batch,
        "examples_per_epoch": examples,
        "steps_per_epoch": math.ceil(examples / options.batch),
        "epochs": len(epochs),
        "best_epoch": best(epochs, key=lambda epoch: epoch["validation"])["epoch"],
        "seconds_per_epoch": statistics.median(epoch["seconds"] for epoch in epochs),
        "defaults": options.defaults,
        "command": " ".join(command[1:]).replace(str(folder), "DIR").replace(options.data, pathlib.Path(options.data).name),
        "users": len(sequences),
    }, ranks


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout


# Both ------------------------------------------------------------------------------------------------------------------------


def cpu_name():
    """Vendor, family and model of the processor, as far as the system names them."""
    fields = {}
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    if "model name" not in fields:
        return platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family')}, model {fields.get('model')})"


def write_ranks(path, ranks, method, seed):
    """The lines that --ranks of the programs writes, for bootstrap.py."""
    with open(path, "a", encoding="utf-8") as file:
        for protocol, of_protocol in ranks.items():
            for example, (user, rank, ties) in enumerate(sorted(of_protocol)):
                line = {"user": user, "example": example, "task": "next", "method": method, "seed": seed,
                        "protocol": protocol, "rank": rank, "ties": ties}
                file.write(json.dumps(line, separators=(",", ":")) + "\n")


def run_side(side, model, options):
    """One run: appends its line to --json and its ranks to --ranks."""
    line, ranks = (run_recbole if side == "RecBole" else run_refrain)(model, options)
    line = {
        "data": options.name, "model": MODELS[model], **line, "stopping": options.stopping, "seed": options.seed,
        "length": options.length, "embedding": options.embedding, "hidden": options.hidden, "threads": options.threads,
        "test_users": len(ranks[FULL]),
        "figures": {protocol: figures_of([each[1:] for each in of_protocol]) for protocol, of_protocol in ranks.items()},
        "cpu": cpu_name(), "date": datetime.date.today().isoformat(),
    }
    if options.ranks:
        write_ranks(options.ranks, ranks, f"{side} {MODELS[model]}", options.seed)
    text = json.dumps(line)
    print(text, flush=True)
    if options.json:
        with open(options.json, "a", encoding="utf-8") as file:
            file.write(text + "\n")


def label(line):
    side = f"{line['side']}, defaults" if line.get("defaults") else line["side"]
    return f"{line['model']}, {side}"


def table(lines):
    """A table of all runs with equal settings: means of the figures, medians of the seconds."""
    groups = {}
    for line in lines:
        groups.setdefault((line["data"], label(line), line["batch"], line["stopping"]), []).append(line)
    titles = ["data", "model", "batch", "examples an epoch", "epochs (best)", "s an epoch", *METRICS,
              *(f"{each} without seen" for each in METRICS[:2])]
    rows = ["| " + " | ".join(titles) + " |", "|---|---|" + "---:|" * (len(titles) - 2)]
    for (data, name, batch, stopping), runs in groups.items():
        def mean(protocol, metric):
            return f"{statistics.fmean(each['figures'][protocol][metric] for each in runs):.4f}"

        unit = "sequences" if runs[0]["side"] == "Refrain" else "prefixes"
        epochs, best = (statistics.median(each[name] for each in runs) for name in ("epochs", "best_epoch"))
        seconds = statistics.median(each["seconds_per_epoch"] for each in runs)
        figures = [mean(FULL, metric) for metric in METRICS] + [mean(UNSEEN, metric) for metric in METRICS[:2]]
        examples = f"{runs[0]['examples_per_epoch']:,} {unit}"
        cells = [data, name, f"{batch}", examples, f"{epochs:g} ({best:g})", f"{seconds:.2f}", *figures]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help='file of lines "user item item ..."')
    parser.add_argument("--name", help="name of the data in the results (default: the file's name)")
    parser.add_argument("--program", help="the built cmnrec")
    parser.add_argument("--models", default="gru4rec,nextitnet,nextitnet-left", help="comma-separated: " + ", ".join(MODELS))
    parser.add_argument("--sides", default="Refrain,RecBole")
    parser.add_argument("--stopping", choices=("own", "equal"), default="own")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=1, help="the sides take turns so many times, each with the next seed")
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--embedding", type=int, default=64, help="width of the item vectors, and of NextItNet")
    parser.add_argument("--hidden", type=int, default=128, help="width of the recurrent layer")
    parser.add_argument("--dropout", type=float, default=0.3, help="of GRU4Rec")
    parser.add_argument("--dilations", type=lambda text: [int(each) for each in text.split(",")], default=[1, 4])
    parser.add_argument("--learning-rate", type=float, default=0.001)
    parser.add_argument("--batch", type=int, default=128, help="sequences in a batch of Refrain")
    parser.add_argument("--peer-batch", type=int, default=2048, help="prefixes in a batch of RecBole")
    parser.add_argument("--defaults", action="store_true", help="Refrain with its own defaults of tied tables and dropout")
    parser.add_argument("--ours", type=str.split, default=[], help="further options of cmnrec train, in one argument")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--checkpoint", help="also copy RecBole's best checkpoint to this file")
    parser.add_argument("--json", help="append the results to this file")
    parser.add_argument("--ranks", help="append the ranks to this file")
    parser.add_argument("--table", metavar="FILE", help="print the table of a file of --json and end")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.table:
        return options
    for name in ("data", "program"):
        if not getattr(options, name):
            parser.error(f"--{name} is required")
    options.data, options.program = os.path.abspath(options.data), os.path.abspath(options.program)
    for name in ("json", "ranks", "checkpoint"):
        if getattr(options, name):
            setattr(options, name, os.path.abspath(getattr(options, name)))
    options.name = options.name or pathlib.Path(options.data).stem
    options.models, options.sides = options.models.split(","), options.sides.split(",")
    if unknown := sorted(set(options.models) - set(MODELS)) + sorted(set(options.sides) - {"Refrain", "RecBole"}):
        parser.error(f"expected models among {', '.join(MODELS)}, sides among Refrain, RecBole; got {', '.join(unknown)}")
    return options


def main(arguments):
    options = parse(arguments)
    if options.table:
        with open(options.table, encoding="utf-8") as file:
            print(table([json.loads(line) for line in file]))
        return
    if options.only:
        run_side(*options.only.split(":"), options)
        return
    read_sequences(options.data)
    for turn in range(options.rounds):
        for model in options.models:
            for side in options.sides:
                if side == "Refrain" and model == "nextitnet-left":
                    continue  # Refrain has one NextItNet
                print(f"{MODELS[model]}, {side}, seed {options.seed + turn}", file=sys.stderr, flush=True)
                more = ["--only", f"{side}:{model}", "--seed", str(options.seed + turn)]
                subprocess.run([sys.executable, "-W", "ignore", __file__, *arguments, *more], check=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (InputError, OSError) as error:
        sys.exit(f"against_recbole: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
