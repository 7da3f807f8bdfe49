#!/usr/bin/env python3
"""Makes 46 profile tasks from MovieLens 1M, for `peterrec finetune --task all`:

    bench/profile_tasks.py FOLDER OUT

FOLDER has users.dat, movies.dat and ratings.dat, or `sequences.txt` (user item item ..., in time
order) in place of ratings.dat. OUT gets histories.txt, the films of each user without the newest
WINDOW ones, and profiles.csv with yes or no in each column:

    gender_F, age_1 to age_56 (bands), occupation_0 to occupation_20   one against all
    genre_G   at least k of the user's newest WINDOW films have the genre G; k, at least 1, is the
              median over users, so the labels are about events that no history contains

Columns with a class of fewer than MIN_USERS users are left out.
"""

import csv
import pathlib
import statistics
import sys

WINDOW = 10
MIN_USERS = 60


def read(path):
    with open(path, encoding="latin-1") as file:
        return [line.rstrip("\n").split("::") for line in file if line.strip()]


def sequences(folder):
    """The films of each user in time order."""
    path = folder / "sequences.txt"
    if path.exists():
        with open(path) as file:
            return {user: items for user, *items in (line.split() for line in file)}
    events = {}
    for user, film, _, time in read(folder / "ratings.dat"):
        events.setdefault(user, []).append((int(time), film))
    # sorted() keeps the order of the file among equal times
    return {user: [film for _, film in sorted(rated, key=lambda event: event[0])]
            for user, rated in events.items()}


def columns(users, newest, genres):
    """Name and labels by user of each task."""
    made = {"gender_F": {user: row[1] == "F" for user, row in users.items()}}
    for name, field in (("age", 2), ("occupation", 3)):
        for value in sorted({row[field] for row in users.values()}, key=int):
            made[f"{name}_{value}"] = {user: row[field] == value for user, row in users.items()}
    for genre in sorted({genre for names in genres.values() for genre in names}):
        counts = {user: sum(genre in genres.get(film, ()) for film in films)
                  for user, films in newest.items()}
        least = max(1, round(statistics.median(counts.values())))
        made[f"genre_{genre}"] = {user: count >= least for user, count in counts.items()}
    return {name: labels for name, labels in made.items()
            if MIN_USERS <= sum(labels.values()) <= len(labels) - MIN_USERS}


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder, out = map(pathlib.Path, sys.argv[1:])
    users = {row[0]: row for row in read(folder / "users.dat")}
    genres = {row[0]: row[2].split("|") for row in read(folder / "movies.dat")}
    all_films = {user: films for user, films in sequences(folder).items()
                 if user in users and len(films) >= 2 * WINDOW}
    users = {user: users[user] for user in all_films}
    newest = {user: films[-WINDOW:] for user, films in all_films.items()}
    tasks = columns(users, newest, genres)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "histories.txt", "w") as file:
        for user, films in all_films.items():
            file.write(" ".join([user, *films[:-WINDOW]]) + "\n")
    with open(out / "profiles.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["user_id", *tasks])
        for user in users:
            writer.writerow([user, *("yes" if labels[user] else "no" for labels in tasks.values())])
    print(f"{len(users)} users, {len(tasks)} tasks: {', '.join(tasks)}")


if __name__ == "__main__":
    main()
