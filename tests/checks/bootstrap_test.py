#!/usr/bin/env python3
"""Tests of bench/bootstrap.py: cases computed by hand, a null case, the coverage of its intervals, errors."""

import contextlib
import io
import itertools
import json
import math
import pathlib
import random
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
sys.dont_write_bytecode = True
import bootstrap  # noqa: E402


def line(user, method, rank, ties=0, seed=1, example=0, task="next", protocol="full, 30 items"):
    return {"user": user, "example": example, "task": task, "method": method, "seed": seed, "protocol": protocol, "rank": rank, "ties": ties}


class Bootstrap(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = str(pathlib.Path(self.folder.name) / "ranks.jsonl")

    def tearDown(self):
        self.folder.cleanup()

    def run_on(self, lines, *options):
        text = "".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines)
        pathlib.Path(self.path).write_text(text, encoding="utf-8")
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            bootstrap.main([self.path, *options])
        return out.getvalue()

    def refusal(self, lines, *options):
        with self.assertRaises(bootstrap.InputError) as caught:
            self.run_on(lines, *options)
        return str(caught.exception)

    def test_metrics_of_a_rank(self):
        self.assertEqual(bootstrap.gain("HR@2", 2, 0), 1)
        self.assertEqual(bootstrap.gain("HR@2", 3, 0), 0)
        self.assertEqual(bootstrap.gain("HR@2", 2, 3), 0.25)  # places 2 to 5
        self.assertAlmostEqual(bootstrap.gain("MRR@3", 2, 1), (1 / 2 + 1 / 3) / 2)
        self.assertAlmostEqual(bootstrap.gain("NDCG@10", 3, 0), 0.5)

    def test_distribution_of_three_users(self):
        # Differences 1, 0, -1: a sample's sum is the number of the first minus that of the third, with 27 equally likely samples.
        exact = sorted(sum(sample) / 3 for sample in itertools.product((1, 0, -1), repeat=3))
        draws = 27000
        means = bootstrap.draw_means([1, 0, -1], draws, 5)
        for value in (-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1):
            expected = sum(math.isclose(each, value, abs_tol=1e-12) for each in exact) / 27
            got = sum(math.isclose(each, value, abs_tol=1e-12) for each in means) / draws
            self.assertAlmostEqual(got, expected, delta=4 * math.sqrt(expected * (1 - expected) / draws))

    def test_only_nonzero_differences(self):
        # Differences 1, 1, 1, 1, -1, -1, -1, -1: the standard deviation of the mean is 1 / sqrt(8).
        means = bootstrap.draw_means([1, -1] * 4, 20000, 1)
        deviation = math.sqrt(sum(value * value for value in means) / len(means))
        self.assertAlmostEqual(deviation, 1 / math.sqrt(8), delta=0.006)

    def test_holm(self):
        # Sorted .01, .02, .03, .5: .04, max(.04, .06), max(.06, .06), .5.
        for got, expected in zip(bootstrap.holm([0.5, 0.01, 0.03, 0.02]), [0.5, 0.04, 0.06, 0.06]):
            self.assertAlmostEqual(got, expected)

    def test_p_value(self):
        self.assertAlmostEqual(bootstrap.two_sided_p([-1, 1, 2, 3]), 2 * 2 / 5)
        self.assertAlmostEqual(bootstrap.two_sided_p([1, 2, 3]), 2 * 1 / 4)
        self.assertEqual(bootstrap.two_sided_p([0, 0, 0]), 1)

    def test_quantile(self):
        self.assertAlmostEqual(bootstrap.quantile([0, 1, 2, 3], 0.5), 1.5)
        self.assertEqual(bootstrap.quantile([0, 1, 2, 3], 1), 3)

    def test_clear_difference(self):
        lines = [line(f"u{i}", "A", 1) for i in range(60)] + [line(f"u{i}", "B", 1 if i % 2 else 50) for i in range(60)]
        text = self.run_on(lines, "--claim", "A > B", "--metric", "HR@10", "--draws", "2000")
        row = text.splitlines()[2]
        self.assertIn("60 users", text)
        self.assertIn(" 1.0000  0.5000    +0.5000 ", row)
        self.assertTrue(row.endswith("better"), row)
        self.assertTrue(self.run_on(lines, "--claim", "B > A", "--draws", "2000").rstrip().endswith("worse"))
        self.assertEqual(self.run_on(lines, "--claim", "A > B"), self.run_on(lines, "--claim", "A > B"))

    def test_seeds_are_averaged(self):
        # Of A one seed hits always and one never: equal to B, which hits every second user, by .0 of .5.
        lines = [line(f"u{i}", "A", 1, seed=1) for i in range(40)] + [line(f"u{i}", "A", 99, seed=2) for i in range(40)]
        lines += [line(f"u{i}", "B", 1 if i % 2 else 99) for i in range(40)]
        methods = bootstrap.choose_table(self.tables(lines), None, None)[1]
        row = bootstrap.compare(methods, [("A", "B", ">")], ["HR@5"], 5000, 1, None, 0.05)[0]
        self.assertEqual((row["a"], row["b"], row["difference"]), (0.5, 0.5, 0))
        # Each user's difference is +1/2 or -1/2: the standard deviation is .5 / sqrt(40).
        self.assertAlmostEqual(row["high"] - row["low"], 2 * 1.96 * 0.5 / math.sqrt(40), delta=0.03)

    def tables(self, lines):
        pathlib.Path(self.path).write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
        return bootstrap.read_ranks([self.path])

    def test_examples_of_one_user_stay_together(self):
        # Ten users of twenty equal examples each are ten observations.
        source = random.Random(3)
        hits = {f"u{i}": source.random() < 0.5 for i in range(10)}
        lines = [line(user, "A", 1 if hit else 99, example=20 * int(user[1:]) + e) for user, hit in hits.items() for e in range(20)]
        lines += [line(user, "B", 99, example=20 * int(user[1:]) + e) for user in hits for e in range(20)]
        methods = bootstrap.choose_table(self.tables(lines), None, None)[1]
        row = bootstrap.compare(methods, [("A", "B", ">")], ["HR@5"], 4000, 1, None, 0.05)[0]
        share = sum(hits.values()) / 10
        self.assertEqual((row["users"], row["difference"]), (10, share))
        self.assertGreater(row["high"] - row["low"], 3 * math.sqrt(share * (1 - share) / 10))

    def test_null_case(self):
        # Two methods of equal quality: p below .05 in about 5 % of the repetitions.
        source = random.Random(11)
        rejected = 0
        for repetition in range(200):
            differences = [source.choice((1, 0, 0, -1)) for _ in range(80)]
            rejected += bootstrap.two_sided_p(bootstrap.draw_means(differences, 400, repetition)) < 0.05
        self.assertLessEqual(rejected, 22)
        self.assertGreaterEqual(rejected, 2)

    def test_equality(self):
        lines = [line(f"u{i}", "A m=4", 1 if i % 10 else 99) for i in range(4000)]
        lines += [line(f"u{i}", "B", 1 if (i + 1) % 10 else 99) for i in range(4000)]
        self.assertTrue(self.run_on(lines, "--claim", "A m=4 = B", "--margin", "0.02", "--draws", "500").rstrip().endswith("equal"))
        self.assertTrue(self.run_on(lines, "--claim", "A m=4 = B", "--margin", "0.01", "--draws", "500").rstrip().endswith("open"))
        same = [line(f"u{i}", name, 3) for name in ("A", "B") for i in range(30)]
        self.assertTrue(self.run_on(same, "--claim", "A = B", "--margin", "0.001", "--draws", "500").rstrip().endswith("equal"))

    def test_tables_are_not_mixed(self):
        lines = [line("u1", name, 1, protocol=protocol) for name in ("A", "B") for protocol in ("full, 30 items", "full, 30 items, seen ones left out")]
        self.assertIn("expected one task and protocol, got 2", self.refusal(lines))
        self.assertIn("seen ones left out", self.run_on(lines, "--protocol", "seen ones", "--draws", "100"))
        self.assertNotIn("seen ones left out", self.run_on(lines, "--protocol", "full, 30 items", "--draws", "100"))
        self.assertIn("got 0", self.refusal(lines, "--task", "gender"))

    def test_bad_input(self):
        good = [line("u1", "A", 1), line("u1", "B", 2)]
        self.assertIn("ranks.jsonl:3: expected a JSON object", self.refusal(good + ["{"]))
        self.assertIn("ranks.jsonl:1: expected 'rank' to be a whole number, got '1'", self.refusal([line("u1", "A", "1")]))
        self.assertIn("ranks.jsonl:1: expected rank >= 1", self.refusal([line("u1", "A", 0)]))
        self.assertIn("ranks.jsonl:3: another rank of user u1", self.refusal(good + [line("u1", "A", 2)]))
        self.assertIn("100 draws", self.run_on(good + [line("u1", "A", 1)], "--draws", "100"))  # the same line twice
        self.assertIn("expected lines of --ranks, got none", self.refusal([]))
        self.assertIn("seed 1: expected the same examples", self.refusal(good + [line("u2", "A", 2)], "--claim", "A > B"))
        self.assertIn("expected at least two methods", self.refusal(good[:1]))
        self.assertIn("--claim: expected 'A > B'", self.refusal(good, "--claim", "A > C"))
        self.assertIn("--margin", self.refusal(good, "--claim", "A = B"))
        self.assertIn("--margin: expected a number between 0 and 1", self.refusal(good, "--margin", "-1"))
        self.assertIn("--metric: expected HR@k", self.refusal(good, "--metric", "HR"))
        self.assertIn("--draws: expected at least 100", self.refusal(good, "--draws", "0"))
        self.assertIn("--against: expected one of A, B, got 'C'", self.refusal(good, "--against", "C"))
        with self.assertRaises(bootstrap.InputError):
            bootstrap.main([self.path + ".missing"])


if __name__ == "__main__":
    unittest.main()
