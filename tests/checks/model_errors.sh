#!/usr/bin/env bash
# Compiler messages for a model that lacks a function: one sentence each, and no other error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

messages=$(LC_ALL=C "${CXX:-c++}" -std=c++20 -fsyntax-only -x c++ -Iinclude - 2>&1 << 'END' || true
#include "refrain/serve/recommend.hpp"
#include "refrain/train/fit.hpp"

using namespace refrain;

struct Named : Module {
  void visit_members(Visitor&) override {}
};
struct NoLength : Named {
  Variable loss(const SequenceBatch&);
  Tensor scores(const Tensor&);
};
struct NoLoss : Named {
  std::int64_t length() const;
  Tensor scores(const Tensor&);
};
struct NoScores : Named {
  std::int64_t length() const;
  Variable loss(const SequenceBatch&);
};
struct NoModule {
  std::int64_t length() const;
  Variable loss(const SequenceBatch&);
  Tensor scores(const Tensor&);
};

void use(NoLength& no_length, NoLoss& no_loss, NoScores& no_scores, NoModule& no_module, const Dataset& data) {
  fit(no_length, data);
  fit(no_loss, data);
  evaluate(no_scores, data.test);
  recommend(no_module, data.vocabulary, {"tea"}, 3);
  fit(no_scores, data, {.stop_on = StopOn::loss});  // which needs no scores
}
END
)

failed=0
expect() {
  grep -qF "$1" <<< "$messages" && return
  echo "missing compiler message: $1" >&2
  failed=1
}
expect "the model needs a function \`std::int64_t length() const\`"
expect "the model needs a function \`Variable loss(const SequenceBatch& batch)\`"
expect "the model needs a function \`Tensor scores(const Tensor& ids)\`"
expect "the model must derive from refrain::Module"
errors=$(grep -c "error:" <<< "$messages" || true)
if ((errors != 4)); then
  echo "expected 4 errors, got $errors" >&2
  failed=1
fi
if ((failed)); then
  echo "$messages" >&2
  exit 1
fi
echo "the compiler names each missing function"
