#!/usr/bin/env python3
"""Compares methods by the files of --ranks: a paired bootstrap over users.

    bench/bootstrap.py ranks.jsonl --claim "CmnRec TSC m=4 > LSTM4Rec" --claim "SRMN = LSTM4Rec" --margin 0.005

A claim "A > B" states that A is better than B, "A = B" that both are equal. Without --claim, each method is compared with
--against (the first method of the files without it). The metrics of an example are means over all orders of its tied items, as in
the programs. A user's value is the mean over the user's examples and over the seeds of the method; a method with several seeds is
thereby averaged inside each draw. Both methods have ranks of the same examples with every seed. Each draw takes as many users as there
are, with replacement.

    difference  the mean over users of A - B
    95 %        the interval between the 2.5 % and 97.5 % quantiles of the draws
    p           two-sided: 2 min(P(draw <= 0), P(draw >= 0)), with (count + 1) / (draws + 1) for P
    Holm        p after Holm's correction over all rows of the table (claims times metrics)
    verdict     "better", "worse": Holm's p is below --alpha; "equal": both ends of the 90 % interval are inside (-margin, margin);
                "better, equal" is possible: a difference that is certain and below the margin; otherwise "open"

Equal seeds give equal tables. Only the standard library is used.
"""

import argparse
import bisect
import json
import math
import random
import re
import sys

METRIC = re.compile(r"(HR|MRR|NDCG)@([1-9][0-9]*)$")
FIELDS = {"user": str, "example": int, "task": str, "method": str, "seed": int, "protocol": str, "rank": int, "ties": int}


class InputError(Exception):
    pass


def gain(metric, rank, ties):
    """The metric of a target with the places rank to rank + ties, averaged over them."""
    kind, cutoff = METRIC.match(metric).groups()
    places = range(rank, min(rank + ties, int(cutoff)) + 1)
    if kind == "HR":
        total = len(places)
    elif kind == "MRR":
        total = math.fsum(1 / place for place in places)
    else:
        total = math.fsum(1 / math.log2(place + 1) for place in places)
    return total / (ties + 1)


def read_line(text, place):
    try:
        line = json.loads(text)
    except ValueError as error:
        raise InputError(f"{place}: expected a JSON object, got {text[:60]!r} ({error})") from None
    if not isinstance(line, dict):
        raise InputError(f"{place}: expected a JSON object, got {text[:60]!r}")
    for field, kind in FIELDS.items():
        if type(line.get(field)) is not kind:
            raise InputError(f"{place}: expected {field!r} to be {'a text' if kind is str else 'a whole number'}, got {line.get(field)!r}")
    if line["rank"] < 1 or line["ties"] < 0:
        raise InputError(f"{place}: expected rank >= 1 and ties >= 0, got {line['rank']} and {line['ties']}")
    return line


def read_ranks(paths):
    """(task, protocol) -> method -> seed -> (user, example) -> (rank, ties)."""
    tables = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as lines:
                for number, text in enumerate(lines, 1):
                    if not text.strip():
                        continue
                    line = read_line(text, f"{path}:{number}")
                    ranks = tables.setdefault((line["task"], line["protocol"]), {}).setdefault(line["method"], {}).setdefault(line["seed"], {})
                    key, value = (line["user"], line["example"]), (line["rank"], line["ties"])
                    if ranks.setdefault(key, value) != value:
                        raise InputError(f"{path}:{number}: another rank of user {line['user']}, example {line['example']}, than in a line before it")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {error}") from None
    if not tables:
        raise InputError(f"expected lines of --ranks, got none in {', '.join(paths)}")
    return tables


def choose_table(tables, task, protocol):
    """The methods of the one table that fits the options."""
    fitting = [key for key in tables if (task is None or key[0] == task) and (protocol is None or protocol in key[1])]
    if protocol is not None and len([key for key in fitting if key[1] == protocol]) == 1:
        fitting = [key for key in fitting if key[1] == protocol]
    if len(fitting) != 1:
        known = "; ".join(f"--task {name!r} --protocol {text!r}" for name, text in sorted(tables))
        raise InputError(f"expected one task and protocol, got {len(fitting)}; the files have {known}")
    return fitting[0], tables[fitting[0]]


def values_of_users(seeds, metric):
    """user -> mean over the user's examples and the seeds."""
    users = {}
    for ranks in seeds.values():
        for (user, _), (rank, ties) in ranks.items():
            users.setdefault(user, []).append(gain(metric, rank, ties))
    return {user: math.fsum(values) / len(values) for user, values in users.items()}


def check_examples(name, seeds, expected):
    for seed, ranks in seeds.items():
        if ranks.keys() != expected.keys():
            missing = next(iter(expected.keys() ^ ranks.keys()))
            raise InputError(f"{name}, seed {seed}: expected the same examples as the other method, got {len(ranks)} and {len(expected)}; "
                             f"user {missing[0]}, example {missing[1]}, is in one of them")


def binomial_table(trials, probability):
    """(first count, cumulative probabilities) of the counts within twelve standard deviations."""
    reach = 12 * math.sqrt(trials * probability * (1 - probability)) + 12
    first, last = max(0, math.floor(trials * probability - reach)), min(trials, math.ceil(trials * probability + reach))
    if probability >= 1:
        return trials, [1.0]
    log_odds = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * math.log(probability) +
                (trials - k) * math.log1p(-probability) for k in range(first, last + 1)]
    cumulative, total = [], 0.0
    for value in log_odds:
        total += math.exp(value)
        cumulative.append(total)
    return first, [value / total for value in cumulative]


def draw_means(differences, draws, seed):
    """Sorted means of bootstrap samples. Of the users with the difference 0 only the number is drawn."""
    nonzero = [value for value in differences if value != 0]
    if not nonzero:
        return [0.0] * draws
    source = random.Random(seed)
    first, cumulative = binomial_table(len(differences), len(nonzero) / len(differences))
    means = []
    for _ in range(draws):
        count = first + min(bisect.bisect_left(cumulative, source.random()), len(cumulative) - 1)
        means.append(math.fsum(source.choices(nonzero, k=count)) / len(differences))
    return sorted(means)


def quantile(ordered, share):
    """Linear interpolation between the order statistics."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def two_sided_p(ordered):
    below = bisect.bisect_right(ordered, 0.0)
    above = len(ordered) - bisect.bisect_left(ordered, 0.0)
    return min(1.0, 2 * (min(below, above) + 1) / (len(ordered) + 1))


def holm(ps):
    """Holm's adjusted p-values in the order of ps."""
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = largest
    return adjusted


def parse_claim(text, methods):
    for sign in (">", "="):
        for place in [found.start() for found in re.finditer(sign, text)]:  # a name may have the sign: "CmnRec TSC m=4"
            pair = text[:place].strip(), text[place + 1:].strip()
            if all(name in methods for name in pair) and pair[0] != pair[1]:
                return (*pair, sign)
    raise InputError(f"--claim: expected 'A > B' or 'A = B' with two of the methods {', '.join(methods)}, got {text!r}")


def compare(methods, claims, metrics, draws, seed, margin, alpha):
    """A row for each claim and metric."""
    rows = []
    for a, b, sign in claims:
        expected = next(iter(methods[b].values()))
        for name in (a, b):
            check_examples(name, methods[name], expected)
        for metric in metrics:
            of_a, of_b = (values_of_users(methods[name], metric) for name in (a, b))
            differences = [of_a[user] - of_b[user] for user in of_a]
            ordered = draw_means(differences, draws, seed)
            rows.append({"claim": f"{a} {sign} {b}", "metric": metric, "users": len(differences),
                         "a": math.fsum(of_a.values()) / len(of_a), "b": math.fsum(of_b.values()) / len(of_b),
                         "difference": math.fsum(differences) / len(differences),
                         "low": quantile(ordered, 0.025), "high": quantile(ordered, 0.975),
                         "low90": quantile(ordered, 0.05), "high90": quantile(ordered, 0.95), "p": two_sided_p(ordered)})
    for row, adjusted in zip(rows, holm([row["p"] for row in rows])):
        row["holm"] = adjusted
        verdict = []
        if adjusted < alpha:
            verdict.append("better" if row["difference"] > 0 else "worse")
        if margin is not None and -margin < row["low90"] and row["high90"] < margin:
            verdict.append("equal")
        row["verdict"] = ", ".join(verdict) or "open"
    return rows


def table(rows):
    width = max(len(row["claim"]) for row in rows)
    lines = [f"{'claim':<{width}}  {'metric':<8} {'A':>7} {'B':>7} {'difference':>10}  {'95 %':<18} {'90 %':<18} {'p':>7} {'Holm':>7}  verdict"]
    for row in rows:
        interval, inner = f"{row['low']:+.4f} {row['high']:+.4f}", f"{row['low90']:+.4f} {row['high90']:+.4f}"
        lines.append(f"{row['claim']:<{width}}  {row['metric']:<8} {row['a']:>7.4f} {row['b']:>7.4f} {row['difference']:>+10.4f}  "
                     f"{interval:<18} {inner:<18} {row['p']:>7.4f} {row['holm']:>7.4f}  {row['verdict']}")
    return "\n".join(lines)


def parse_arguments(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="files of --ranks")
    parser.add_argument("--task", help="the task, where the files have several")
    parser.add_argument("--protocol", help="part of the protocol's text, or all of it, where the files have several: 'seen ones left out'")
    parser.add_argument("--claim", action="append", default=[], help="'A > B' or 'A = B' (several times)")
    parser.add_argument("--against", help="compare every other method with this one")
    parser.add_argument("--metric", action="append", help="HR@k, MRR@k or NDCG@k (several times); default HR@10. The accuracy of classes is HR@1")
    parser.add_argument("--margin", type=float, help="of equivalence, written down before the runs")
    parser.add_argument("--alpha", type=float, default=0.05, help="level of 'better' and 'worse' (default 0.05)")
    parser.add_argument("--draws", type=int, default=10000, help="bootstrap samples (default 10000)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    options.metric = options.metric or ["HR@10"]
    for metric in options.metric:
        if not METRIC.match(metric):
            raise InputError(f"--metric: expected HR@k, MRR@k or NDCG@k, got {metric!r}")
    if options.draws < 100:
        raise InputError(f"--draws: expected at least 100, got {options.draws}")
    if options.margin is not None and not 0 < options.margin < 1:
        raise InputError(f"--margin: expected a number between 0 and 1, got {options.margin}")
    if not 0 < options.alpha < 1:
        raise InputError(f"--alpha: expected a number between 0 and 1, got {options.alpha}")
    if options.claim and options.against:
        raise InputError("--against: expected without --claim")
    return options


def main(arguments):
    options = parse_arguments(arguments)
    (task, protocol), methods = choose_table(read_ranks(options.files), options.task, options.protocol)
    if options.claim:
        claims = [parse_claim(text, methods) for text in options.claim]
    else:
        base = options.against or next(iter(methods))
        if base not in methods:
            raise InputError(f"--against: expected one of {', '.join(methods)}, got {base!r}")
        claims = [(name, base, ">") for name in methods if name != base]
    if any(sign == "=" for _, _, sign in claims) and options.margin is None:
        raise InputError("--claim 'A = B': expected the margin of equivalence with --margin")
    if not claims:
        raise InputError(f"expected at least two methods, got {', '.join(methods)}")
    rows = compare(methods, claims, options.metric, options.draws, options.seed, options.margin, options.alpha)
    print(f"task {task}; {protocol}; {rows[0]['users']:,} users; {options.draws:,} draws, seed {options.seed}"
          + (f"; margin {options.margin}" if options.margin is not None else ""))
    print(table(rows))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"bootstrap.py: {error}")
