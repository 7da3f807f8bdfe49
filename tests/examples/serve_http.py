"""The serve program over HTTP: tests/examples/serve_http.py SERVE MODEL LINES [KILLS]

MODEL is a model file and LINES a file of messages as for standard input. Answers over HTTP must
equal those on standard input; acknowledged events must survive kill -9; SIGTERM under load must
fail no request; a second server on the same log must be refused.
"""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

SERVE, MODEL, LINES = sys.argv[1:4]
KILLS = int(sys.argv[4]) if len(sys.argv) > 4 else int(os.environ.get("REFRAIN_KILLS", "20"))


class Server:
    """A serve process on a free loopback port."""

    def __init__(self, *options):
        self.process = subprocess.Popen(
            [SERVE, "--model", MODEL, "--listen", "127.0.0.1:0", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.port = None
        for line in self.process.stderr:
            found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                return
        raise SystemExit(f"FAILED: serve ended with {self.process.wait()} before it listened")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def stop(self):
        """Sends SIGTERM and returns the seconds until the end."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.stderr.read()
        status = self.process.wait(timeout=30)
        expect(status == 0, f"exit code 0 after SIGTERM, got {status}")
        return time.monotonic() - start


def expect(holds, what):
    if not holds:
        raise SystemExit(f"FAILED: expected {what}")


def send(connection, method, path, body=None):
    """The status and the parsed body of an answer."""
    text = None if body is None else json.dumps(body)
    headers = {} if body is None else {"Content-Type": "application/json"}
    connection.request(method, path, text, headers)
    response = connection.getresponse()
    answer = response.read()
    return response.status, json.loads(answer) if answer else None


def answers_equal_standard_input(folder, *options):
    """Each line as a request, with and without a log that keeps few users in memory."""
    with open(LINES) as lines:
        messages = [json.loads(line) for line in lines]
    printed = subprocess.run([SERVE, "--model", MODEL], stdin=open(LINES), capture_output=True,
                             text=True, check=True).stdout.splitlines()
    expected = []
    for line in printed:
        answer = json.loads(line)
        del answer["line"]
        expected.append(answer)
    # Clients at once, each with the messages of its users in their order, so that some messages
    # wait together.
    server = Server(*options)
    answers = [None] * len(messages)
    failures = []

    def client(numbers):
        connection = server.connect()
        try:
            for number in numbers:
                path = "/v1/events" if "item" in messages[number] else "/v1/recommend"
                status, answer = send(connection, "POST", path, messages[number])
                expect(status in (200, 202), f"200 for {messages[number]}, got {status} {answer}")
                answers[number] = answer
        except BaseException as error:
            failures.append(error)

    clients = 6
    numbers_of = [[] for _ in range(clients)]
    for number, message in enumerate(messages):
        numbers_of[sum(message.get("user", "").encode()) % clients].append(number)
    threads = [threading.Thread(target=client, args=(numbers,)) for numbers in numbers_of]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    server.stop()
    got = [answer for answer, message in zip(answers, messages) if "item" not in message]
    compare(got, expected, f"standard input ({' '.join(options)})", bool(options))
    print(f"{len(got)} answers equal those of standard input {' '.join(options)}")


def compare(got, expected, of, is_remade=False):
    """Equal answers; states that were made again from the log give scores within 5e-6."""
    expect(len(got) == len(expected), f"{len(expected)} answers, got {len(got)}")
    for left, right in zip(got, expected):
        if is_remade:
            scores = [[each.pop("score") for each in answer["best"]] for answer in (left, right)]
            close = len(scores[0]) == len(scores[1]) and all(
                abs(a - b) <= 5e-6 * (abs(b) + max(map(abs, scores[1])))
                for a, b in zip(*scores))
            expect(close, f"scores {scores[1]} of {of}, got {scores[0]}")
        expect(left == right, f"the answer {right} of {of}, got {left}")


class Load:
    """Clients that send events of their own users until they are stopped or cut off."""

    def __init__(self, server, clients, durable, users_of):
        self.server = server
        self.durable = durable
        self.acknowledged = [[] for _ in range(clients)]
        self.unanswered = [None] * clients
        self.failures = []
        self.stopping = threading.Event()
        self.threads = [
            threading.Thread(target=self.run, args=(client, users_of(client)))
            for client in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, client, user):
        path = "/v1/events?durable=1" if self.durable else "/v1/events"
        connection = self.server.connect()
        number = 0
        try:
            while not self.stopping.is_set():
                items = [str(1 + (number + i) % 40) for i in range(10)]
                self.unanswered[client] = items
                status, _ = send(connection, "POST", path,
                                 [{"user": user, "item": item} for item in items])
                if status not in (200, 202):
                    self.failures.append(status)
                    return
                self.acknowledged[client] += items
                self.unanswered[client] = None
                number += 10
                if connection.sock is None:
                    return  # the answer had Connection: close
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))

    def join(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


def kills_lose_nothing(folder):
    """kill -9 at random moments: the log has each acknowledged event once, in order, and of the
    others at most those of the last body of each client."""
    log = os.path.join(folder, "kills.sqlite")
    dice = random.Random(5)
    total = 0
    for round_ in range(KILLS):
        server = Server("--log", log)
        load = Load(server, 4, True, lambda client: f"round{round_}client{client}")
        time.sleep(0.05 + 0.3 * dice.random())
        server.kill()
        load.join()
        refused = [failure for failure in load.failures if isinstance(failure, int)]
        expect(not refused, f"no refused event, got {refused}")
        server = Server("--log", log)
        connection = server.connect()
        for client in range(4):
            status, answer = send(connection, "GET", f"/v1/users/round{round_}client{client}")
            items = answer["items"] if status == 200 else []
            sent = load.acknowledged[client]
            more = sent + (load.unanswered[client] or [])
            newest = sent[-1000:]
            expect(items in (newest, more[-1000:]),
                   f"the {len(sent)} acknowledged events of round {round_}, got {len(items)}")
            total += len(sent)
        if round_ % 2 == 0:
            server.kill()
        else:
            server.stop()
    expect(total > 0, "acknowledged events")
    print(f"{KILLS} kills: {total} acknowledged events are there once")


def a_signal_fails_no_request(folder):
    log = os.path.join(folder, "signal.sqlite")
    server = Server("--log", log)
    load = Load(server, 8, False, lambda client: f"user{client}")
    time.sleep(0.5)
    seconds = server.stop()  # clients send until an answer has Connection: close
    load.join()
    expect(not load.failures, f"no failed request, got {load.failures}")
    expect(seconds < 5, f"an end within 5 s, got {seconds:.1f} s")
    server = Server("--log", log)
    connection = server.connect()
    for client, sent in enumerate(load.acknowledged):
        status, answer = send(connection, "GET", f"/v1/users/user{client}")
        expect(status == 200 and answer["items"] == sent[-1000:], f"all events of user{client}")
    server.stop()
    print(f"SIGTERM under load: no failed request, end after {seconds:.1f} s")


def a_log_has_one_server(folder):
    log = os.path.join(folder, "one.sqlite")
    server = Server("--log", log)
    second = subprocess.run([SERVE, "--model", MODEL, "--listen", "127.0.0.1:0", "--log", log],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    expect(second.returncode == 1 and log in second.stderr,
           f"a refusal that names {log}, got {second.returncode} {second.stderr}")
    server.stop()
    for options, reason in (
            (["--listen", "127.0.0.1"], "ADDRESS:PORT"),
            (["--listen", "0.0.0.0:0"], "token"),
            (["--listen", "127.0.0.1:0", "--log", folder], folder),
            (["--log", log], "--listen"),
            (["--listen", "127.0.0.1:0", "--states", os.path.join(folder, "s")], "--states")):
        refused = subprocess.run([SERVE, "--model", MODEL, *options], stdin=subprocess.DEVNULL,
                                 capture_output=True, text=True, timeout=60)
        expect(refused.returncode == 1 and reason in refused.stderr,
               f"a refusal of {options} that has {reason}, got {refused.returncode} "
               f"{refused.stderr}")


with tempfile.TemporaryDirectory() as scratch:
    answers_equal_standard_input(scratch)
    answers_equal_standard_input(scratch, "--log", os.path.join(scratch, "log.sqlite"),
                                 "--users-in-memory", "2")
    a_log_has_one_server(scratch)
    kills_lose_nothing(scratch)
    a_signal_fails_no_request(scratch)
